/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs write and user space reads, and what user space sets before load.
 * Its twin is collectd_cgacct/counters.py; tests/kernel/test_layout.py holds the two together.
 */
#ifndef CGACCT_H
#define CGACCT_H

/* One cell. A cgroup's storage is an array of them, one for each combination of the
 * parts that are told apart, so that every sum over cells comes from one read.
 */
struct cgacct_counters {
	__u64 rx_bytes;
	__u64 rx_packets;
	__u64 tx_bytes;
	__u64 tx_packets;
};

/* Set before load. The storage has 4 cells for PROTOCOL, times 2 for FAMILY, times 2 for
 * SCOPE; the last of these varies fastest.
 */
enum cgacct_split { CGACCT_PROTOCOL = 1, CGACCT_FAMILY = 2, CGACCT_SCOPE = 4 };

struct cgacct_switches {
	__u32 splits; /* bits of enum cgacct_split */
	__u32 last_cell;
};

enum cgacct_protocol { CGACCT_TCP, CGACCT_UDP, CGACCT_ICMP, CGACCT_OTHER, CGACCT_PROTOCOLS };
enum cgacct_family { CGACCT_IPV4, CGACCT_IPV6, CGACCT_FAMILIES };
enum cgacct_scope { CGACCT_LOOPBACK, CGACCT_EXTERNAL, CGACCT_SCOPES };

#endif

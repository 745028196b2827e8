/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs write and user space reads. Its twin is collectd_cgacct/counters.py;
 * tests/kernel/test_layout.py holds the two together.
 */
#ifndef CGACCT_H
#define CGACCT_H

struct cgacct_counters {
	__u64 rx_bytes;
	__u64 rx_packets;
	__u64 tx_bytes;
	__u64 tx_packets;
};

#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a packet's transport header is, and how long the headers are that each of its
 * segments carries on the wire. Offset 0 is the IP header: that is where data begins
 * at the cgroup_skb hooks.
 */
#ifndef CGACCT_HEADERS_H
#define CGACCT_HEADERS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* As many as RFC 8200, section 4.1, puts before a header that can be read: each kind once,
 * destination options twice.
 */
#define MAX_EXTENSIONS 6
#define FRAGMENT_OFFSET 0xfff8

#define UNKNOWN 256 /* no protocol number */

/* Leave x as it is, and have the verifier forget what it was. Paths that differ in what is
 * known of x are then one path again: without this Linux 5.10, which without CAP_PERFMON
 * takes every branch, would take more than the million steps that it allows itself.
 */
#define FORGET(x, any) asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(x) : "r"(any))

/* Where the transport header is, and of which protocol: UNKNOWN if the headers could not be
 * read. The protocol itself says so, and no flag beside it: Linux 5.10 loads a program
 * without CAP_PERFMON only if it may take every branch, against all flags, and still reads
 * nothing that was not written.
 */
struct transport {
	__u64 offset;
	__u64 protocol;
	/* Octets of the packet in memory that no segment of it has on the wire. */
	__u64 inserted;
};

/* Every kind but the fragment header starts with next header, length. */
struct extension {
	__u8 next;
	__u8 length;
	__be16 fragment_offset;
};

static __always_inline int is_extension(__u64 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_DSTOPTS ||
	       protocol == IPPROTO_AH;
}

static __always_inline struct transport find_in_ipv4(struct __sk_buff *skb)
{
	struct transport t = {0, UNKNOWN, 0};
	__u8 ip[10]; /* version and header length at 0, protocol at 9 */

	if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)))
		return t;
	t.offset = (ip[0] & 0x0f) * 4;
	t.protocol = ip[9];
	return t;
}

static __always_inline struct transport find_in_ipv6(struct __sk_buff *skb)
{
	struct transport t = {0, UNKNOWN, 0}, unknown = t;
	__u8 ip[8]; /* payload length at 4, next header at 6 */
	struct extension e;
	__u64 any = skb->len;

	if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)))
		return unknown;
	t.offset = 40;
	t.protocol = ip[6];
	/* BIG TCP, in Linux 5.19 to 6.18 at least: into what it cannot express in 16 bits of
	 * payload length the kernel puts a hop-by-hop header with the jumbo option, 8 octets
	 * (ip6_xmit()), and takes it out when it cuts the packet into segments
	 * (ipv6_gso_segment()). Real jumbograms are not segmented.
	 */
	if (t.protocol == IPPROTO_HOPOPTS && !ip[4] && !ip[5])
		t.inserted = 8;

#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		FORGET(t.protocol, any);
		FORGET(t.offset, any);
		if (!is_extension(t.protocol))
			return t;
		if (bpf_skb_load_bytes(skb, t.offset, &e, sizeof(e)))
			return unknown;
		if (t.protocol == IPPROTO_FRAGMENT) {
			t.offset += 8;
			t.protocol = e.next;
			/* Not the first fragment: what follows is data. */
			if (e.fragment_offset & bpf_htons(FRAGMENT_OFFSET))
				return t;
		} else {
			t.offset +=
				t.protocol == IPPROTO_AH ? (e.length + 2) * 4 : (e.length + 1) * 8;
			t.protocol = e.next;
		}
	}
	return is_extension(t.protocol) ? unknown : t;
}

static __always_inline struct transport find_transport(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return find_in_ipv4(skb);
	return find_in_ipv6(skb);
}

/* Returns the length of the headers from IP to transport, as they are in memory;
 * 0 if they could not be read.
 */
static __always_inline __u32 headers_length(struct __sk_buff *skb, struct transport t)
{
	__u8 offset = 0;

	if (t.protocol == IPPROTO_UDP)
		return t.offset + 8;
	if (t.protocol != IPPROTO_TCP)
		return 0;
	if (bpf_skb_load_bytes(skb, t.offset + 12, &offset, sizeof(offset)))
		return 0;
	return t.offset + (offset >> 4) * 4;
}

#endif

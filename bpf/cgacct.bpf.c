// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Count the packets that enter and leave a cgroup, in storage that belongs to
 * that cgroup and to the CPU the packet is on: no lock, no hash, no parsing.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cgacct.h"

/* A plain __u64 key (Linux 5.9, commit 7d9c3427894f) makes ingress and egress of a
 * cgroup share one storage, so that one lookup by cgroup id reads both.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, struct cgacct_counters);
} counters SEC(".maps");

/* Egress runs in process context and may be interrupted, between the load and the
 * store of a plain +=, by ingress or egress of the same cgroup in softirq on the
 * same CPU. The atomic add closes that gap; on a per-CPU slot it is uncontended.
 */
#define ADD(counter, n) ((void)__sync_fetch_and_add(&(counter), (n)))

/* At these hooks skb->len is the length of the packet at L3, IP header included. */

SEC("cgroup_skb/ingress")
int count_ingress(struct __sk_buff *skb)
{
	struct cgacct_counters *c = bpf_get_local_storage(&counters, 0);

	ADD(c->rx_bytes, skb->len);
	ADD(c->rx_packets, 1);
	return 1;
}

SEC("cgroup_skb/egress")
int count_egress(struct __sk_buff *skb)
{
	struct cgacct_counters *c = bpf_get_local_storage(&counters, 0);

	ADD(c->tx_bytes, skb->len);
	ADD(c->tx_packets, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

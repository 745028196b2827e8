// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The least that counts bytes and packets of a cgroup without losing any: its
 * per-CPU storage and two atomic adds. What the product's program costs more than
 * this is the price of its features.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counters {
	__u64 rx_bytes;
	__u64 rx_packets;
	__u64 tx_bytes;
	__u64 tx_packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, struct counters);
} storage SEC(".maps");

SEC("cgroup_skb/ingress")
int count(struct __sk_buff *skb)
{
	struct counters *c = bpf_get_local_storage(&storage, 0);

	(void)__sync_fetch_and_add(&c->rx_bytes, skb->len);
	(void)__sync_fetch_and_add(&c->rx_packets, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

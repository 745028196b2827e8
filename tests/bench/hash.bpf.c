// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A hash by cgroup id, as programs have it that are attached once, at the root: give
 * -DMAP_TYPE=BPF_MAP_TYPE_HASH or BPF_MAP_TYPE_PERCPU_HASH. It holds one cgroup here,
 * which is the best case for a hash.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counters {
	__u64 bytes;
	__u64 packets;
};

struct {
	__uint(type, MAP_TYPE);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, struct counters);
} cgroups SEC(".maps");

static __always_inline struct counters *counters_of(__u64 id)
{
	struct counters *found = bpf_map_lookup_elem(&cgroups, &id);
	struct counters zero = {};

	if (found)
		return found;
	bpf_map_update_elem(&cgroups, &id, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&cgroups, &id);
}

SEC("cgroup_skb/ingress")
int count(struct __sk_buff *skb)
{
	struct counters *c = counters_of(bpf_skb_cgroup_id(skb));

	if (!c)
		return 1;
	(void)__sync_fetch_and_add(&c->bytes, skb->len);
	(void)__sync_fetch_and_add(&c->packets, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

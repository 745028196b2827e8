// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The shape that articles about this map type show: one storage for each cgroup and
 * direction, and the packet's length read out of its IP header. Bytes only; the 16
 * bits and the payload length of IPv6 are part of that shape.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#define AF_INET 2
#define AF_INET6 10

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} storage SEC(".maps");

SEC("cgroup_skb/ingress")
int count(struct __sk_buff *skb)
{
	struct ipv6hdr ip6;
	struct iphdr ip4;
	__u16 bytes = 0;
	__u64 *counter;

	switch (skb->family) {
	case AF_INET:
		bpf_skb_load_bytes(skb, 0, &ip4, sizeof(ip4));
		bytes = bpf_ntohs(ip4.tot_len);
		break;
	case AF_INET6:
		bpf_skb_load_bytes(skb, 0, &ip6, sizeof(ip6));
		bytes = bpf_ntohs(ip6.payload_len);
		break;
	default:
		return 1;
	}
	counter = bpf_get_local_storage(&storage, 0);
	(void)__sync_fetch_and_add(counter, bytes);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Nothing: what is left of a measurement of this is the measuring itself. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup_skb/ingress")
int count(struct __sk_buff *skb)
{
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Count the packets that enter and leave a cgroup, in storage that belongs to
 * that cgroup and to the CPU the packet is on: no lock, no hash, no parsing.
 *
 * Headers are read only of a packet that stands for several on the wire (GSO, GRO),
 * or if user space asked for the split by protocol.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cgacct.h"
#include "headers.h"

/* The loopback device has this index in every network namespace: it is registered
 * first there, and drivers/net/loopback.c stops the kernel if it got another.
 */
#define LOOPBACK_IFINDEX 1

/* In .rodata, frozen before load: the verifier drops the branches of what is off. */
const volatile struct cgacct_switches switches;

/* A plain __u64 key (Linux 5.9, commit 7d9c3427894f) makes ingress and egress of a
 * cgroup share one storage, so that one lookup by cgroup id reads both. User space
 * sets the size of the value to that of all cells; sizes instead of types, because
 * libbpf would find the type at odds with that size.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__uint(key_size, sizeof(__u64));
	__uint(value_size, sizeof(struct cgacct_counters));
} counters SEC(".maps");

#define PACKET (1ULL << 32)

/* Egress runs in process context. Egress of the same cgroup in softirq on the same CPU, the
 * acknowledgement of what has just come in for one, may interrupt it between the load and
 * the store of a plain +=, and the store then takes back all that softirq has added. This was
 * seen to happen: tests/kernel/test_wire_concurrent.py compiles these programs with plain
 * adds and attaches ten copies to one cgroup; in two seconds of such load seven to nine of
 * them lose egress, up to what 260 packets added at once. Ingress is always softirq, and
 * none lost any of it. With atomic adds no copy loses anything; on a per-CPU slot they are
 * uncontended.
 */
#ifdef PLAIN_ADDS
#define ADD(counter, n) ((void)((counter) += (n)))
#else
#define ADD(counter, n) ((void)__sync_fetch_and_add(&(counter), (n)))
#endif

static __noinline __u32 protocol_of(struct __sk_buff *skb)
{
	switch (find_transport(skb).protocol) {
	case IPPROTO_TCP:
		return CGACCT_TCP;
	case IPPROTO_UDP:
		return CGACCT_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return CGACCT_ICMP;
	}
	return CGACCT_OTHER;
}

static __always_inline __u64 cell_of(struct __sk_buff *skb, __u32 splits)
{
	__u64 cell = 0;

	if (splits & CGACCT_PROTOCOL)
		cell = protocol_of(skb);
	if (splits & CGACCT_FAMILY)
		cell = cell * CGACCT_FAMILIES +
		       (skb->protocol == bpf_htons(ETH_P_IP) ? CGACCT_IPV4 : CGACCT_IPV6);
	if (splits & CGACCT_SCOPE)
		cell = cell * CGACCT_SCOPES +
		       (skb->ifindex == LOOPBACK_IFINDEX ? CGACCT_LOOPBACK : CGACCT_EXTERNAL);
	return cell;
}

static __always_inline struct cgacct_counters *counters_of(struct __sk_buff *skb)
{
	struct cgacct_counters *c = bpf_get_local_storage(&counters, 0);
	__u32 splits = switches.splits;
	__u64 cell, any = skb->len;

	if (!splits)
		return c;
	cell = cell_of(skb, splits);
	/* Loaded without CAP_PERFMON, a pointer may not move by a constant that differs from
	 * path to path ("tried to add from different maps, paths or scalars"), only by a value
	 * of which the verifier knows no more than the range: make it forget.
	 */
	FORGET(cell, any);
	return c + (cell & switches.last_cell);
}

/* What a packet with gso_size is on the wire, packets in the upper half and octets in the
 * lower one: each segment has the same headers. A call, so that the other packets have
 * no registers to save for it.
 *
 * gso_segs is 0 for what a virtual machine's host or a tap device handed over unsegmented
 * (virtio_net_hdr_to_skb() in include/linux/virtio_net.h): then the sizes tell.
 */
static __noinline __u64 segmented(struct __sk_buff *skb)
{
	__u32 segments = skb->gso_segs, size = skb->gso_size, length = skb->len, headers;
	struct transport t = find_transport(skb);

	headers = headers_length(skb, t);
	if (!headers || headers >= length)
		return PACKET | length;
	if (!segments)
		segments = (length - headers + size - 1) / size;
	headers -= t.inserted;
	length += (segments - 1) * headers - t.inserted;
	return segments * PACKET | length;
}

/* At these hooks skb->len is the length of the packet at L3, IP header included. */
#define COUNT(skb, bytes, packets)                         \
	do {                                               \
		if (skb->gso_size && skb->gso_segs != 1) { \
			__u64 wire = segmented(skb);       \
			ADD(bytes, (__u32)wire);           \
			ADD(packets, wire >> 32);          \
		} else {                                   \
			ADD(bytes, skb->len);              \
			ADD(packets, 1);                   \
		}                                          \
	} while (0)

SEC("cgroup_skb/ingress")
int count_ingress(struct __sk_buff *skb)
{
	struct cgacct_counters *c = counters_of(skb);

	COUNT(skb, c->rx_bytes, c->rx_packets);
	return 1;
}

SEC("cgroup_skb/egress")
int count_egress(struct __sk_buff *skb)
{
	struct cgacct_counters *c = counters_of(skb);

	COUNT(skb, c->tx_bytes, c->tx_packets);
	return 1;
}

/* Never called, so never loaded: keeps the cell's layout in the object's BTF, where the
 * tests compare it with user space's.
 */
__attribute__((used, unused)) static void keep_layout(struct cgacct_counters *cell
						      __attribute__((unused)))
{
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

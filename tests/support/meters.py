# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Programs to compare with: other arithmetic, the same attachment, the same storage.

Each is a whole object that collectd_cgacct.bpf.Object loads as it loads the packaged one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_SHAPE = """
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "cgacct.h"

const volatile struct cgacct_switches switches;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__uint(key_size, sizeof(__u64));
	__uint(value_size, sizeof(struct cgacct_counters));
} counters SEC(".maps");

#define ADD(counter, n) ((void)__sync_fetch_and_add(&(counter), (n)))
BODY

SEC("cgroup_skb/ingress")
int count_ingress(struct __sk_buff *skb)
{
	struct cgacct_counters *c = bpf_get_local_storage(&counters, 0);

	(void)switches.splits;
	count(skb, &c->rx_bytes, &c->rx_packets);
	return 1;
}

SEC("cgroup_skb/egress")
int count_egress(struct __sk_buff *skb)
{
	struct cgacct_counters *c = bpf_get_local_storage(&counters, 0);

	(void)switches.splits;
	count(skb, &c->tx_bytes, &c->tx_packets);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
"""

_COUNT = """
static __always_inline void count(struct __sk_buff *skb, __u64 *bytes, __u64 *packets)
{
%s
}
"""

# What systemd's IPAccounting adds up.
PLAIN = _COUNT % "ADD(*bytes, skb->len); ADD(*packets, 1);"

# The length fields of the IP headers, in 16 bits.
ARTICLE = (
    _COUNT
    % """
	__u16 length = 0;

	if (skb->family == 2) {
		__u8 ip[20];
		bpf_skb_load_bytes(skb, 0, ip, sizeof(ip));
		length = bpf_ntohs(*(__be16 *)(ip + 2));
	} else if (skb->family == 10) {
		__u8 ip[40];
		bpf_skb_load_bytes(skb, 0, ip, sizeof(ip));
		length = bpf_ntohs(*(__be16 *)(ip + 4));
	}
	ADD(*bytes, length);
	ADD(*packets, 1);
"""
)

# Packets that stand for several on the wire; as bytes, those above 64 KiB among them.
SEGMENTED = _COUNT % "if (skb->gso_size) { ADD(*packets, 1); ADD(*bytes, skb->len > 65536); }"

# All that a program is told about a packet but its addresses and data, as four numbers.
CONTEXT = (
    _COUNT
    % """
	struct cgacct_counters *c = bpf_get_local_storage(&counters, 0);
	__u32 version, id_and_fragment, protocol;

	bpf_skb_load_bytes(skb, 0, &version, 4);
	bpf_skb_load_bytes(skb, 4, &id_and_fragment, 4);
	bpf_skb_load_bytes(skb, 8, &protocol, 4);
	c->rx_bytes = (__u64)skb->len << 32 | (__u32)(skb->data_end - skb->data);
	c->rx_packets = (__u64)skb->gso_segs << 32 | skb->gso_size;
	c->tx_bytes = (__u64)version << 32 | (id_and_fragment & bpf_htonl(0xffff));
	c->tx_packets = (__u64)(protocol & bpf_htonl(0xffff0000)) << 32 | skb->ifindex;
"""
)


def _clang(source: Path, target: Path, *options: str) -> None:
    byte_order = "bpfel" if sys.byteorder == "little" else "bpfeb"
    multiarch = subprocess.check_output(["clang", "-print-multiarch"], text=True).strip()
    command = ["clang", "-target", byte_order, "-mcpu=v2", "-O2", "-g", *options]
    includes = [f"-I/usr/include/{multiarch}", f"-I{REPOSITORY / 'bpf'}"]
    subprocess.run([*command, *includes, "-c", source, "-o", target], check=True)


def meter(directory: Path, name: str, body: str) -> Path:
    """Compile the programs that count as ``body`` says; return the object's path."""
    source = directory / f"{name}.bpf.c"
    source.write_text(_SHAPE.replace("BODY", body), "utf-8")
    _clang(source, directory / f"{name}.o")
    return directory / f"{name}.o"


def variant(directory: Path, name: str, *options: str) -> Path:
    """Compile the packaged programs with other compiler options; return the object's path."""
    _clang(REPOSITORY / "bpf" / "cgacct.bpf.c", directory / f"{name}.o", *options)
    return directory / f"{name}.o"

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Put before a program (-include), this makes every atomic add go to one sum besides.
 * BPF_PROG_TEST_RUN gives a program cgroup storage of its own and throws it away in
 * the end, so that what was counted there cannot be looked up; the sum can.
 */
#ifndef WITNESS_H
#define WITNESS_H

#include <linux/bpf.h>

__u64 witness;

#define __sync_fetch_and_add(counter, n) \
	(__sync_fetch_and_add(&witness, (n)), __sync_fetch_and_add((counter), (n)))

#endif

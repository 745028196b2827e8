// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What reading costs at least: one bpf_map_lookup_elem for each cgroup, from C, and the
 * sum over CPUs. Compiled at run time and called from read_cost.py.
 */
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <bpf/bpf.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Read each of the `count` cgroups in `ids` into its `fields` sums. `slots` has room for
 * one value: `fields` words for each possible CPU. Returns the seconds that it took, or
 * -errno.
 */
double lookup_loop(int map_fd, const uint64_t *ids, size_t count, size_t cpus, size_t fields,
		   uint64_t *slots, uint64_t *sums)
{
	double begin = now();

	for (size_t i = 0; i < count; i++, sums += fields) {
		int error = bpf_map_lookup_elem(map_fd, &ids[i], slots);

		if (error)
			return error;
		for (size_t field = 0; field < fields; field++) {
			sums[field] = 0;
			for (size_t cpu = 0; cpu < cpus; cpu++)
				sums[field] += slots[cpu * fields + field];
		}
	}
	return now() - begin;
}

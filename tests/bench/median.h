/* median.h -- of what rounds of a bench measured.  Puts v in order. */
#ifndef REKINDLE_BENCH_MEDIAN_H
#define REKINDLE_BENCH_MEDIAN_H

#include <stdlib.h>

static int
by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static inline double
median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_size);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

#endif

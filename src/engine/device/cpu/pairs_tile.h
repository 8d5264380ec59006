/*
 * pairs_tile.h
 *		The tile of a product by AVX-512, at the end of a file that has defined
 *		how pairs are multiplied.
 *
 * Sums are those of 16 columns: no_sums(), add_products(), which adds the
 * products of 16 pairs, and result(), which makes numbers of them by what is
 * behind the pairs of the row and of the panel.  TILE_TARGET is the attribute
 * of what may use the file's instructions.
 */

#include "device/cpu/pairs_fetch.h"

/* Rows that are summed at once: 28 registers of sums, two of a panel, one of a
 * row. */
#define TILE_ROWS 14

/* One more pair of each row, and what is fetched meanwhile. */
TILE_TARGET static inline __attribute__((always_inline)) void
add_pair(Sums sum[TILE_ROWS][2], int rows, int halves, const uint32_t *a,
         int64_t a_stride, const uint32_t *b, Fetching *fetching)
{
	__m512i panel[2];

	fetch_ahead(fetching);
	for (int h = 0; h < halves; h++)
		panel[h] = _mm512_loadu_si512(b + 16 * h);
#pragma GCC unroll 14
	for (int i = 0; i < rows; i++)
	{
		__m512i pair = _mm512_set1_epi32((int) a[i * a_stride]);

		for (int h = 0; h < halves; h++)
			sum[i][h] = add_products(sum[i][h], pair, panel[h]);
	}
}

/* The tile of `rows` rows, a constant, and one or two times 16 columns.  A row
 * of c is fetched with each of the first pairs: all at once are more than
 * processors can wait for, and what they drop is waited for in the end. */
TILE_TARGET static inline __attribute__((always_inline)) void
tile_of(int rows, int halves, float *c, int64_t c_stride, const uint32_t *a,
        int64_t a_stride, const uint32_t *b, int64_t pairs, int cols,
        float beta, const PairsAhead *ahead)
{
	Fetching fetching = begin_fetching(ahead, pairs);
	const uint32_t *end = a + pairs;
	const uint32_t *fetched = a + (rows < pairs ? rows : pairs);
	const float *row = c;
	Sums sum[TILE_ROWS][2];

#pragma GCC unroll 14
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
			sum[i][h] = no_sums();
	for (; a < fetched; a++, b += BF16_COLS, row += c_stride)
	{
		for (int h = 0; h < halves; h++)
			_mm_prefetch(row + 16 * h, _MM_HINT_T0);
		add_pair(sum, rows, halves, a, a_stride, b, &fetching);
	}
	for (; a < end; a++, b += BF16_COLS)
		add_pair(sum, rows, halves, a, a_stride, b, &fetching);
#pragma GCC unroll 14
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
			put_sums(c + i * c_stride + 16 * h,
			         result(sum[i][h], a + i * a_stride, b + 16 * h),
			         cols - 16 * h, beta);
}

#define TILE(ROWS)                                                             \
	case ROWS:                                                                 \
		if (cols > 16)                                                         \
			tile_of(ROWS, 2, c, c_stride, a, a_stride, b, pairs, cols, beta,   \
			        ahead);                                                    \
		else                                                                   \
			tile_of(ROWS, 1, c, c_stride, a, a_stride, b, pairs, cols, beta,   \
			        ahead);                                                    \
		break

TILE_TARGET static void
tile(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
     const uint32_t *b, int64_t pairs, int rows, int cols, float beta,
     const PairsAhead *ahead)
{
	switch (rows)
	{
		TILE(1);
		TILE(2);
		TILE(3);
		TILE(4);
		TILE(5);
		TILE(6);
		TILE(7);
		TILE(8);
		TILE(9);
		TILE(10);
		TILE(11);
		TILE(12);
		TILE(13);
		TILE(14);
	}
}

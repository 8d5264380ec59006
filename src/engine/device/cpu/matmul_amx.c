/*
 * matmul_amx.c
 *		Products of 16 bits by AMX: an instruction adds the products of 16 rows
 *		of 64 bytes and 16 columns of as many to a tile of 16 by 16 sums.
 *
 * Rows of pairs and panels are what the instructions want of their factors
 * (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
 * TDPBF16PS and TDPBSSD), and AVX-512 packs them.
 *
 * A thread has eight tiles, whose sizes are set before products and released
 * behind them (volume 1, chapter 18; volume 2, LDTILECFG).
 *
 * Kernels are used only after they have multiplied whole numbers rightly, once
 * a process.
 */
#include "device/cpu/matmul_bf16.h"

#if defined(__x86_64__) && defined(__linux__)
#include "device/cpu/pairs_avx512.h"
#include "device/cpu/pairs_fetch.h"

#include <cpuid.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX                                                                    \
	__attribute__((                                                            \
		target("amx-tile,amx-bf16,amx-int8,avx512f,avx512bw,avx512vl")))
#define AMX_PART AMX static inline __attribute__((always_inline))

#define TILE 16 /* rows, columns and pairs of a tile */

/* What ldtilecfg reads. */
typedef struct TileSizes
{
	uint8_t palette;
	uint8_t start_row;
	uint8_t reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
} TileSizes;

/* Gives each of the eight tiles its number of rows, of 16 pairs or sums.  Loads
 * read so many, and products write them. */
AMX static void
set_tiles(const int rows[8])
{
	TileSizes sizes = {.palette = 1};

	for (int i = 0; i < 8; i++)
	{
		sizes.row_bytes[i] = TILE * sizeof(uint32_t);
		sizes.rows[i] = (uint8_t) (rows[i] < 1      ? 1
		                           : rows[i] > TILE ? TILE
		                                            : rows[i]);
	}
	/* The compiler is told of the first eight bytes only. */
	__asm__ volatile("" : : "r"(&sizes) : "memory");
	_tile_loadconfig(&sizes);
}

/* The kernel need save nothing of the tiles any more when it switches
 * threads. */
AMX static void
release_tiles(void)
{
	_tile_release();
}

/* Whole numbers of up to 8, whose products and sums are exact. */
static float
whole_number(int i)
{
	return (float) ((i * 37 + i / 7 * 11) % 17 - 8);
}

/* How many rows of c each TILE pairs fetch, for all to be there in the end. */
static inline int
rows_a_step(int rows, int64_t pairs)
{
	int64_t steps = pairs / TILE;

	return (int) ((rows + steps - 1) / steps);
}

/* What tiles fetch while TILE pairs from number p on are multiplied: their rows
 * of c, `each` at a time, and what is ahead. */
static inline __attribute__((always_inline)) void
fetch(const float *c, int64_t c_stride, int rows, int each, int64_t p,
      Fetching *ahead)
{
	int first = (int) (p / TILE) * each;

	for (int i = first; i < first + each && i < rows; i++)
		for (int h = 0; h < 2; h++)
			_mm_prefetch(c + i * c_stride + TILE * h, _MM_HINT_T0);
	for (int i = 0; i < TILE; i++)
		fetch_ahead(ahead);
}

/* -------------------------------------------------------------- bf16 */

/* Rows that are summed at once. */
#define BF16_ROWS (2 * TILE)

/* The instruction's tiles, digits for the assembler: sums of 16 rows and
 * columns, the other columns, the other rows, both; rows; columns. */
#define SUMS_00 0
#define SUMS_01 1
#define SUMS_10 2
#define SUMS_11 3
#define LEFT_0 4
#define LEFT_1 5
#define RIGHT_0 6
#define RIGHT_1 7

/* Strips of up to TILE rows leave half of the tiles alone. */
AMX static void
begin_bf16(int rows)
{
	const int sizes[8] = {
		[SUMS_00] = rows,        [SUMS_01] = rows, [SUMS_10] = rows - TILE,
		[SUMS_11] = rows - TILE, [LEFT_0] = rows,  [LEFT_1] = rows - TILE,
		[RIGHT_0] = TILE,        [RIGHT_1] = TILE};

	set_tiles(sizes);
}

/* to[rows][cols] = beta to + sums[rows][TILE]; cols at most TILE. */
AMX static void
add_sums(float *to, int64_t stride, const float *sums, int rows, int cols,
         float beta)
{
	for (int i = 0; i < rows; i++)
		put_sums(to + i * stride, _mm512_load_ps(sums + i * TILE), cols, beta);
}

/* The sums of tile SUMS_ih: straight to c where it has rows and columns for all
 * of them. */
#define STORE(i, h)                                                            \
	do                                                                         \
	{                                                                          \
		float *to = c + TILE * (i) *c_stride + TILE * (h);                     \
		int height = rows - TILE * (i);                                        \
		int width = cols - TILE * (h);                                         \
                                                                               \
		if (beta == 0 && width >= TILE && height >= TILE)                      \
			_tile_stored(SUMS_##i##h, to, bytes);                              \
		else if (width > 0)                                                    \
		{                                                                      \
			_tile_stored(SUMS_##i##h, sums, TILE * sizeof(float));             \
			add_sums(to, c_stride, sums, height > TILE ? TILE : height, width, \
			         beta);                                                    \
		}                                                                      \
	} while (0)

AMX static void
tile_bf16(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
          const uint32_t *b, int64_t pairs, int rows, int cols, float beta,
          const PairsAhead *ahead)
{
	size_t bytes = (size_t) c_stride * sizeof(float);
	size_t a_bytes = (size_t) a_stride * sizeof(uint32_t);
	Fetching fetching = begin_fetching(ahead, pairs);
	int each = rows_a_step(rows, pairs);
	_Alignas(64) float sums[TILE * TILE];

	_tile_zero(SUMS_00);
	_tile_zero(SUMS_01);
	if (rows > TILE)
	{
		_tile_zero(SUMS_10);
		_tile_zero(SUMS_11);
	}
	for (int64_t p = 0; p < pairs; p += TILE)
	{
		const uint32_t *panel = b + p * BF16_COLS;

		_tile_loadd(RIGHT_0, panel, BF16_COLS * sizeof(uint32_t));
		_tile_loadd(RIGHT_1, panel + TILE, BF16_COLS * sizeof(uint32_t));
		_tile_loadd(LEFT_0, a + p, a_bytes);
		_tile_dpbf16ps(SUMS_00, LEFT_0, RIGHT_0);
		_tile_dpbf16ps(SUMS_01, LEFT_0, RIGHT_1);
		if (rows > TILE)
		{
			_tile_loadd(LEFT_1, a + TILE * a_stride + p, a_bytes);
			_tile_dpbf16ps(SUMS_10, LEFT_1, RIGHT_0);
			_tile_dpbf16ps(SUMS_11, LEFT_1, RIGHT_1);
		}
		fetch(c, c_stride, rows, each, p, &fetching);
	}
	STORE(0, 0);
	STORE(0, 1);
	if (rows > TILE)
	{
		STORE(1, 0);
		STORE(1, 1);
	}
}

/* Whole numbers are packed for AMX, too, where it multiplies them. */
AMX static void
turn(uint32_t *to, const uint32_t *lines, const float *scale)
{
	_Alignas(64) uint32_t whole[TILE * BF16_COLS];

	if (scale != NULL)
	{
		for (int i = 0; i < TILE * BF16_COLS; i += 16)
			_mm512_store_si512(whole + i,
			                   whole_pairs(_mm512_loadu_si512(lines + i)));
		lines = whole;
	}
	bf16_avx512()->turn(to, lines, scale);
}

/* Tiles of all shapes are the portable ones. */
static bool
bf16_multiplies(const PairKernels *kernels)
{
	enum
	{
		DEPTH = 3 * 2 * TILE,
		PAIRS = DEPTH / 2
	};
	static float source[(BF16_ROWS + BF16_COLS) * DEPTH];
	static float ours[BF16_ROWS * BF16_COLS], theirs[BF16_ROWS * BF16_COLS];
	static uint32_t rows[BF16_ROWS * PAIRS], panel[BF16_COLS * PAIRS];

	for (int i = 0; i < (BF16_ROWS + BF16_COLS) * DEPTH; i++)
		source[i] = whole_number(i);
	bf16_portable.rows_along(rows, PAIRS, source, DEPTH, BF16_ROWS, DEPTH);
	bf16_portable.panel_along(panel, source + BF16_ROWS * DEPTH, DEPTH,
	                          BF16_COLS, DEPTH);
	for (int count = 1; count <= BF16_ROWS; count++)
		for (int cols = 1; cols <= BF16_COLS; cols++)
			for (int beta = 0; beta < 2; beta++)
			{
				memcpy(ours, source, sizeof(ours));
				memcpy(theirs, source, sizeof(theirs));
				kernels->begin(count);
				kernels->tile(ours, BF16_COLS, rows, PAIRS, panel, PAIRS, count,
				              cols, (float) beta, NULL);
				kernels->end();
				bf16_portable.tile(theirs, BF16_COLS, rows, PAIRS, panel, PAIRS,
				                   count, cols, (float) beta, NULL);
				if (memcmp(ours, theirs, sizeof(ours)) != 0)
					return false;
			}
	return true;
}

/* ----------------------------------------- whole numbers of 16 bits
 *
 * With bytes for numbers, a b = 2^16 a1 b1 + 2^8 (a1 b0 + a0 b1) + a0 b0.  The
 * last is left out: it is 2^14 at most, of products of up to 2^30.  Rows with
 * their bytes exchanged give the middle, rows of upper bytes alone the first.
 * Their sums are exact, of 2^11 products of bytes at most.
 */

/* The instruction's tiles, digits for the assembler: middle sums of 16 columns,
 * of the others, upper sums of these; rows; columns. */
#define MIDDLE_0 0
#define MIDDLE_1 1
#define UPPER_0 2
#define UPPER_1 3
#define LEFT_MIDDLE 4
#define LEFT_UPPER 5
#define RIGHT_0 6
#define RIGHT_1 7

AMX static void
begin_int16(int rows)
{
	const int sizes[8] = {rows, rows, rows, rows, rows, rows, TILE, TILE};

	set_tiles(sizes);
}

/* A row's 16 numbers from both sums, without the factors' scales. */
AMX_PART __m512
join_sums(const int32_t *middle, const int32_t *upper)
{
	__m512 sums = _mm512_fmadd_ps(
		_mm512_cvtepi32_ps(_mm512_load_si512(upper)), _mm512_set1_ps(256),
		_mm512_cvtepi32_ps(_mm512_load_si512(middle)));

	return _mm512_mul_ps(sums, _mm512_set1_ps(256));
}

AMX static void
tile_int16(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
           const uint32_t *b, int64_t pairs, int rows, int cols, float beta,
           const PairsAhead *ahead)
{
	size_t a_bytes = (size_t) a_stride * sizeof(uint32_t);
	size_t b_bytes = BF16_COLS * sizeof(uint32_t);
	const float *scales = (const float *) (b + pairs * BF16_COLS);
	const uint32_t *row_scale = a + 2 * pairs;
	Fetching fetching = begin_fetching(ahead, pairs);
	int each = rows_a_step(rows, pairs);
	_Alignas(64) int32_t middle[2][TILE * TILE];
	_Alignas(64) int32_t upper[2][TILE * TILE];

	_tile_zero(MIDDLE_0);
	_tile_zero(MIDDLE_1);
	_tile_zero(UPPER_0);
	_tile_zero(UPPER_1);
	for (int64_t p = 0; p < pairs; p += TILE, a += 2 * TILE)
	{
		_tile_loadd(RIGHT_0, b + p * BF16_COLS, b_bytes);
		_tile_loadd(LEFT_MIDDLE, a, a_bytes);
		_tile_dpbssd(MIDDLE_0, LEFT_MIDDLE, RIGHT_0);
		_tile_loadd(RIGHT_1, b + p * BF16_COLS + TILE, b_bytes);
		_tile_dpbssd(MIDDLE_1, LEFT_MIDDLE, RIGHT_1);
		_tile_loadd(LEFT_UPPER, a + TILE, a_bytes);
		_tile_dpbssd(UPPER_0, LEFT_UPPER, RIGHT_0);
		_tile_dpbssd(UPPER_1, LEFT_UPPER, RIGHT_1);
		fetch(c, c_stride, rows, each, p, &fetching);
	}
	_tile_stored(MIDDLE_0, middle[0], TILE * sizeof(int32_t));
	_tile_stored(MIDDLE_1, middle[1], TILE * sizeof(int32_t));
	_tile_stored(UPPER_0, upper[0], TILE * sizeof(int32_t));
	_tile_stored(UPPER_1, upper[1], TILE * sizeof(int32_t));
	for (int i = 0; i < rows; i++, c += c_stride, row_scale += a_stride)
	{
		__m512 row = _mm512_castsi512_ps(_mm512_set1_epi32((int) *row_scale));

		for (int h = 0; h < 2; h++)
		{
			__m512 scale =
				_mm512_mul_ps(row, _mm512_loadu_ps(scales + TILE * h));

			put_sums(c + TILE * h,
			         _mm512_mul_ps(
						 join_sums(middle[h] + TILE * i, upper[h] + TILE * i),
						 scale),
			         cols - TILE * h, beta);
		}
	}
}

/* Tiles of all numbers of rows and columns are products, but for what is left
 * out and rounded: less than 1e-3 of each, as none is larger than 64. */
static bool
int16_multiplies(const PairKernels *kernels)
{
	enum
	{
		DEPTH = 3 * 2 * TILE,
		STRIDE = DEPTH + BF16_PAIRS
	};
	static float source[(TILE + BF16_COLS) * DEPTH];
	static float out[TILE * BF16_COLS], exact[TILE * BF16_COLS];
	static uint32_t rows[TILE * STRIDE], panel[BF16_COLS * STRIDE];

	for (int i = 0; i < (TILE + BF16_COLS) * DEPTH; i++)
		source[i] = whole_number(i);
	kernels->rows_along(rows, STRIDE, source, DEPTH, TILE, DEPTH);
	kernels->panel_along(panel, source + TILE * DEPTH, DEPTH, BF16_COLS, DEPTH);
	for (int i = 0; i < TILE; i++)
		for (int j = 0; j < BF16_COLS; j++)
		{
			float sum = 0;

			for (int p = 0; p < DEPTH; p++)
				sum += source[i * DEPTH + p] * source[(TILE + j) * DEPTH + p];
			exact[i * BF16_COLS + j] = sum;
		}
	for (int count = 1; count <= TILE; count++)
		for (int cols = 1; cols <= BF16_COLS; cols++)
		{
			memset(out, 0, sizeof(out));
			kernels->begin(count);
			kernels->tile(out, BF16_COLS, rows, STRIDE, panel, DEPTH / 2, count,
			              cols, 1, NULL);
			kernels->end();
			for (int i = 0; i < TILE * BF16_COLS; i++)
			{
				bool is_inside = i / BF16_COLS < count && i % BF16_COLS < cols;
				float off = out[i] - (is_inside ? exact[i] : 0);

				if (!(fabsf(off) <= 1e-3f * DEPTH))
					return false;
			}
		}
	return true;
}

/* ------------------------------------------------------------ choice */

/* Whether the processor has the tiles and the system lets us use them: Linux
 * gives their state to processes that ask (arch_prctl(2), since 5.16). */
static bool
may_use_tiles(void)
{
	/* AMX-BF16, AMX-TILE, AMX-INT8 */
	const unsigned needed = 1u << 22 | 1u << 24 | 1u << 25;
	const long request = 0x1023; /* ARCH_REQ_XCOMP_PERM */
	const long tile_data = 18;
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & needed) == needed &&
	       syscall(SYS_arch_prctl, request, tile_data) == 0;
}

static PairKernels bf16_kernels_amx, int16_kernels_amx;
static bool are_chosen;

/* All or none, as one reads what the other packs. */
static void
choose(void)
{
	const PairKernels *packing = bf16_avx512();
	const PairKernels *splitting = int16_split_avx512();

	if (packing == NULL || splitting == NULL || !may_use_tiles())
		return;
	bf16_kernels_amx = *packing;
	bf16_kernels_amx.rows = BF16_ROWS;
	bf16_kernels_amx.step = TILE;
	bf16_kernels_amx.begin = begin_bf16;
	bf16_kernels_amx.end = release_tiles;
	bf16_kernels_amx.turn = turn;
	bf16_kernels_amx.tile = tile_bf16;
	int16_kernels_amx = *splitting;
	int16_kernels_amx.rows = TILE;
	int16_kernels_amx.begin = begin_int16;
	int16_kernels_amx.end = release_tiles;
	int16_kernels_amx.tile = tile_int16;
	are_chosen = bf16_multiplies(&bf16_kernels_amx) &&
	             int16_multiplies(&int16_kernels_amx);
}

static bool
chooses_amx(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, choose);
	return are_chosen;
}

const PairKernels *
bf16_amx(void)
{
	return chooses_amx() ? &bf16_kernels_amx : NULL;
}

const PairKernels *
int16_amx(void)
{
	return chooses_amx() ? &int16_kernels_amx : NULL;
}

#else

const PairKernels *
int16_amx(void)
{
	return 0;
}

const PairKernels *
bf16_amx(void)
{
	return 0;
}
#endif

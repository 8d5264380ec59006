/*
 * matmul_bf16_amx.c
 *		Products of bf16 by AMX: tdpbf16ps adds the product of 16 rows of 16
 *		pairs and 16 columns of as many to a tile of 16 by 16 sums.
 *
 * Rows of pairs and panels are what the instruction wants of its factors
 * (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
 * TDPBF16PS), so only the tile differs from AVX512-BF16, which packs.
 *
 * The kernels are used only after they have multiplied whole numbers as the
 * portable ones do, once a process.
 */
#include "device/cpu/matmul_bf16.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX                                                                    \
	__attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl")))

#define TILE 16 /* rows, columns and pairs of a tile */
#define ROWS (2 * TILE)

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

/* What ldtilecfg reads. */
typedef struct Configuration
{
	uint8_t palette;
	uint8_t start_row;
	uint8_t reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
} Configuration;

AMX static void
configure(int rows)
{
	Configuration tiles = {.palette = 1};

	for (int i = 0; i < 8; i++)
	{
		bool is_second = i == SUMS_10 || i == SUMS_11 || i == LEFT_1;
		int left = is_second ? rows - TILE : rows;

		if (i == RIGHT_0 || i == RIGHT_1 || left > TILE)
			left = TILE;
		tiles.row_bytes[i] = TILE * sizeof(uint32_t);
		tiles.rows[i] = (uint8_t) (left > 0 ? left : 1);
	}
	/* The compiler is told of the first eight bytes only. */
	__asm__ volatile("" : : "r"(&tiles) : "memory");
	_tile_loadconfig(&tiles);
}

/* to[rows][cols] = beta to + sums[rows][TILE]; cols at most TILE. */
AMX static void
add_sums(float *to, int64_t stride, const float *sums, int rows, int cols,
         float beta)
{
	__mmask16 mask = cols >= TILE ? 0xffff : (__mmask16) ((1u << cols) - 1);

	for (int i = 0; i < rows; i++)
	{
		float *at = to + i * stride;
		__m512 before = _mm512_maskz_loadu_ps(beta == 0 ? 0 : mask, at);

		_mm512_mask_storeu_ps(at, mask,
		                      _mm512_fmadd_ps(before, _mm512_set1_ps(beta),
		                                      _mm512_load_ps(sums + i * TILE)));
	}
}

/* The sums of tile SUMS_ih: straight to c where they are all of it. */
#define STORE(i, h)                                                            \
	do                                                                         \
	{                                                                          \
		float *to = c + TILE * (i) *c_stride + TILE * (h);                     \
		int height = rows - TILE * (i);                                        \
		int width = cols - TILE * (h);                                         \
                                                                               \
		if (beta == 0 && width >= TILE)                                        \
			_tile_stored(SUMS_##i##h, to, bytes);                              \
		else if (width > 0)                                                    \
		{                                                                      \
			_tile_stored(SUMS_##i##h, sums, TILE * sizeof(float));             \
			add_sums(to, c_stride, sums, height > TILE ? TILE : height, width, \
			         beta);                                                    \
		}                                                                      \
	} while (0)

/* Strips of up to TILE rows leave half of the tiles alone. */
AMX static void
tile(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
     const uint32_t *b, int64_t pairs, int rows, int cols, float beta,
     const PairsAhead *ahead)
{
	size_t bytes = (size_t) c_stride * sizeof(float);
	size_t a_bytes = (size_t) a_stride * sizeof(uint32_t);
	_Alignas(64) float sums[TILE * TILE];

	(void) ahead;
	configure(rows);
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
	}
	STORE(0, 0);
	STORE(0, 1);
	if (rows > TILE)
	{
		STORE(1, 0);
		STORE(1, 1);
	}
	/* Nothing of the tiles is saved when the kernel switches threads. */
	_tile_release();
}

/* Whole numbers of up to 8, whose products and sums are exact. */
static float
whole_number(int i)
{
	return (float) ((i * 37 + i / 7 * 11) % 17 - 8);
}

/* Tiles of all shapes are the portable ones. */
static bool
multiplies_as_portable(const PairKernels *kernels)
{
	enum
	{
		DEPTH = 3 * 2 * TILE,
		PAIRS = DEPTH / 2
	};
	static float source[(ROWS + BF16_COLS) * DEPTH];
	static float ours[ROWS * BF16_COLS], theirs[ROWS * BF16_COLS];
	static uint32_t rows[ROWS * PAIRS], panel[BF16_COLS * PAIRS];

	for (int i = 0; i < (ROWS + BF16_COLS) * DEPTH; i++)
		source[i] = whole_number(i);
	bf16_portable.rows_along(rows, PAIRS, source, DEPTH, ROWS, DEPTH);
	bf16_portable.panel_along(panel, source + ROWS * DEPTH, DEPTH, BF16_COLS,
	                          DEPTH);
	for (int count = 1; count <= ROWS; count++)
		for (int cols = 1; cols <= BF16_COLS; cols++)
			for (int beta = 0; beta < 2; beta++)
			{
				memcpy(ours, source, sizeof(ours));
				memcpy(theirs, source, sizeof(theirs));
				kernels->tile(ours, BF16_COLS, rows, PAIRS, panel, PAIRS, count,
				              cols, (float) beta, NULL);
				bf16_portable.tile(theirs, BF16_COLS, rows, PAIRS, panel, PAIRS,
				                   count, cols, (float) beta, NULL);
				if (memcmp(ours, theirs, sizeof(ours)) != 0)
					return false;
			}
	return true;
}

/* Whether the processor has the tiles and the system lets us use them: Linux
 * gives their state to processes that ask (arch_prctl(2), since 5.16). */
static bool
may_use_tiles(void)
{
	const unsigned needed = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
	const long request = 0x1023;                 /* ARCH_REQ_XCOMP_PERM */
	const long tile_data = 18;
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & needed) == needed &&
	       syscall(SYS_arch_prctl, request, tile_data) == 0;
}

static PairKernels chosen;
static bool is_chosen;

static void
choose(void)
{
	const PairKernels *packing = bf16_avx512();

	if (packing == NULL || !may_use_tiles())
		return;
	chosen = *packing;
	chosen.rows = ROWS;
	chosen.step = TILE;
	chosen.tile = tile;
	is_chosen = multiplies_as_portable(&chosen);
}

const PairKernels *
bf16_amx(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, choose);
	return is_chosen ? &chosen : NULL;
}

#else

const PairKernels *
bf16_amx(void)
{
	return 0;
}
#endif

/*
 * matmul_codes.c
 *		Products with weights of small whole numbers: how the weights are
 *		packed as a whole, and how threads divide a product.
 */
#include "device/cpu/matmul_codes.h"

#include "device/cpu/matmul.h"
#include "device/cpu/matmul_bf16.h"

#include <string.h>

/* Bytes of rows that are packed at a time: half of a second-level cache. */
#define ROWS_BYTES (1 << 19)

#define CACHE_LINE 64

static const CodeKernels *
kernels(void)
{
	const CodeKernels *native = codes_avx512();

	return native != NULL ? native : &codes_portable;
}

bool
cpu_takes_codes(const Matrix *w)
{
	const Tensor *stored = &w->tensor;

	return !w->transposed && quant_has_codes(stored->dtype) &&
	       stored->cols % QUANT_CODES == 0 &&
	       stored->stride % dtype_block(stored->dtype) == 0;
}

static int64_t
count_panels(const Matrix *w)
{
	return (w->tensor.rows + CODE_COLS - 1) / CODE_COLS;
}

static size_t
panel_bytes(const Matrix *w)
{
	return (size_t) (w->tensor.cols / QUANT_CODES) *
	       code_panel_bytes(quant_has_least(w->tensor.dtype));
}

/* ------------------------------------------------------------- packing */

/* Column j of a block: QUANT_CODES neighbours of a row of weights. */
static void
put_column(CodePanel *panel, int j, const QuantCodes *codes, bool has_least)
{
	for (int i = 0; i < QUANT_CODES; i++)
		panel->code[i / 2][j][i % 2] = codes->code[i];
	panel->scale[j] = codes->scale;
	if (has_least)
		panel->least[j] = codes->least;
}

size_t
cpu_codes_bytes(const Matrix *w)
{
	return (size_t) count_panels(w) * panel_bytes(w);
}

/* Rows from `first` on, at most CODE_COLS, are the columns of a panel; those
 * that are missing are 0. */
static void
pack_panel(uint8_t *to, const Tensor *stored, int64_t first)
{
	bool has_least = quant_has_least(stored->dtype);
	size_t bytes = code_panel_bytes(has_least);
	int64_t cols =
		stored->rows - first < CODE_COLS ? stored->rows - first : CODE_COLS;

	for (int64_t at = 0; at < stored->cols; at += QUANT_CODES, to += bytes)
	{
		CodePanel *panel = (CodePanel *) (void *) to;

		memset(to, 0, bytes);
		for (int64_t j = 0; j < cols; j++)
		{
			QuantCodes codes;

			quant_read_codes(&codes, stored->data, stored->dtype,
			                 (first + j) * stored->stride + at);
			put_column(panel, (int) j, &codes, has_least);
		}
	}
}

void
cpu_pack_codes(void *target, const Matrix *w)
{
	int64_t panels = count_panels(w);
	size_t bytes = panel_bytes(w);

#pragma omp parallel for schedule(                                             \
	static) if (w->tensor.rows * w->tensor.cols > CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < panels; i++)
		pack_panel((uint8_t *) target + (size_t) i * bytes, &w->tensor,
		           i * CODE_COLS);
}

/* ------------------------------------------------------------ products */

/* A product of some rows. */
typedef struct CodedProduct
{
	const CodeKernels *kernels;
	Tensor out;
	Tensor x;
	CodeRow *rows; /* [x.rows, blocks]: x packed */
	int64_t blocks;
	const uint8_t *panels;
	size_t panel_bytes;
	bool has_least;
	float beta;
} CodedProduct;

/* CpuPart: of rows of x */
static void
pack_rows(void *argument, int64_t first, int64_t last)
{
	const CodedProduct *p = argument;

	for (int64_t i = first; i < last; i++)
		p->kernels->pack_row(p->rows + i * p->blocks, cpu_row(p->x, i),
		                     p->blocks);
}

/* A panel of columns with all rows, in strips of about the same height.  They
 * fetch the next panel from memory, each its part: a panel is used for some
 * microseconds only. */
static void
multiply_panel(const CodedProduct *p, int64_t number)
{
	int64_t col = number * CODE_COLS;
	int64_t cols =
		p->out.cols - col < CODE_COLS ? p->out.cols - col : CODE_COLS;
	int64_t strips = (p->x.rows + p->kernels->rows - 1) / p->kernels->rows;
	const uint8_t *panel = p->panels + (size_t) number * p->panel_bytes;
	const uint8_t *ahead = panel + p->panel_bytes;
	int64_t block_lines = (int64_t) p->panel_bytes / p->blocks / CACHE_LINE;
	int64_t lines = (block_lines + strips - 1) / strips;

	for (int64_t s = 0; s < strips; s++)
	{
		int64_t first = p->x.rows * s / strips;
		int64_t last = p->x.rows * (s + 1) / strips;

		p->kernels->tile(cpu_row(p->out, first) + col, p->out.stride,
		                 p->rows + first * p->blocks, panel, p->blocks,
		                 p->has_least, (int) (last - first), (int) cols,
		                 p->beta, ahead, (int) lines);
		ahead += p->blocks * lines * CACHE_LINE;
	}
}

/* CpuPart: of panels */
static void
multiply_panels(void *argument, int64_t first, int64_t last)
{
	for (int64_t i = first; i < last; i++)
		multiply_panel(argument, i);
}

void
cpu_multiply_codes(Device *device, Tensor out, Tensor x, const Matrix *w,
                   float beta)
{
	CodedProduct p = {.kernels = kernels(),
	                  .blocks = x.cols / QUANT_CODES,
	                  .panels = w->packed,
	                  .panel_bytes = panel_bytes(w),
	                  .has_least = quant_has_least(w->tensor.dtype),
	                  .beta = beta};
	size_t row_bytes = (size_t) p.blocks * sizeof(CodeRow);
	int64_t most =
		ROWS_BYTES / (int64_t) row_bytes / p.kernels->rows * p.kernels->rows +
		p.kernels->rows;
	size_t floats;

	most = most < x.rows ? most : x.rows;
	floats = (size_t) most * row_bytes / sizeof(float);
	p.rows = (CodeRow *) (void *) (cpu_threads(device) == 1
	                                   ? cpu_scratch(device, floats)
	                                   : cpu_shared_scratch(device, floats));
	for (int64_t i = 0; p.rows != NULL && i < x.rows; i += most)
	{
		int64_t rows = x.rows - i < most ? x.rows - i : most;

		p.x = tensor_rows(x, i, rows);
		p.out = tensor_rows(out, i, rows);
		cpu_share(device, rows, 1 + CPU_PARALLEL_MIN / (x.cols + 1), pack_rows,
		          &p);
		cpu_share(device, count_panels(w),
		          1 + CPU_PIECE_WORK / (rows * x.cols * CODE_COLS),
		          multiply_panels, &p);
	}
}

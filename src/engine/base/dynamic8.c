/*
 * dynamic8.c
 *		The levels of dynamic quantization, and how the nearest is found.
 */
#include "base/dynamic8.h"

#include <string.h>

Dynamic8 dynamic8_signed;
Dynamic8 dynamic8_square;

/*
 * The magnitudes, rising from 0 to 1, whose first decade has so many, and the
 * search for them: in a decade they are the middles of equal parts, so that
 * the nearest is that of the part.
 */
static void
fill_magnitudes(int first, float *magnitude, Dynamic8Search *search)
{
	int count = 0;

	magnitude[count++] = 0;
	for (int i = 0; i < DYNAMIC8_DECADES; i++)
	{
		int parts = first << i;
		double size = pow(10, i - (DYNAMIC8_DECADES - 1));

		search->factor[i] = (float) (parts / 0.9 / size);
		search->offset[i] = (float) (count - 0.1 * parts / 0.9);
		search->last[i] = (float) (count + parts - 1);
		for (int j = 0; j < parts; j++)
			magnitude[count++] =
				(float) (size * (0.1 + 0.9 * (j + 0.5) / parts));
		search->edge[i] =
			(magnitude[count - parts - 1] + magnitude[count - parts]) / 2;
	}
	search->factor[DYNAMIC8_DECADES] = 0;
	search->offset[DYNAMIC8_DECADES] = (float) count;
	search->last[DYNAMIC8_DECADES] = (float) count;
	search->edge[DYNAMIC8_DECADES] = (magnitude[count - 1] + 1) / 2;
	magnitude[count] = 1;
}

__attribute__((constructor)) static void
fill_tables(void)
{
	float *zero = dynamic8_signed.level + DYNAMIC8_ZERO;

	fill_magnitudes(1, zero, &dynamic8_signed.search);
	for (int n = 1; n <= DYNAMIC8_ZERO; n++)
		zero[-n] = -zero[n];
	fill_magnitudes(2, dynamic8_square.level, &dynamic8_square.search);
}

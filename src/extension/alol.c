/*
 * alol.c
 *		What happens when the library is loaded, and the version function.
 */
#include "alol.h"

#include "miscadmin.h"

#include "job/launcher.h"
#include "base/settings.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/*
 * Works in any session, with no preload.  With shared_preload_libraries the
 * launcher comes along, which starts interrupted jobs after a restart.
 */
void
_PG_init(void)
{
	settings_define();
	/* pg_upgrade wants nothing to be written meanwhile. */
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
		launcher_register();
}

ALOL_FUNCTION(alol_version);
Datum
alol_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(ALOL_VERSION));
}

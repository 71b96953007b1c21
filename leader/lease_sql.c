/* See lease_sql.h. */
#include "lease_sql.h"

#include <sys/random.h>

#include "lease_store.h"

int64_t lease_sql_epoch_step(void)
{
	uint32_t chance = 0;

	if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
		chance = 0;
	return 1 + chance % LEASE_EPOCH_STEP_MAX;
}

/* See verify_plan.h. */
#include "verify_plan.h"

#include <assert.h>

#include "balances.h"
#include "verify_chain.h"

#define BALANCES_MIN  1000
#define BALANCES_MAX  (INT64_C(120) * 1000 * 1000) /* that balances.h takes in one table */
#define GROWTH(count) ((count) + (count) / 8)      /* accounts that come while we look */

size_t verify_plan_balances(const struct verify_step *step, size_t room)
{
	size_t chains = ((size_t)(step->last - step->first) + 1) * VERIFY_CHAIN_BYTES;
	size_t balances = room > chains ? (room - chains) / BALANCE_BYTES_MAX : 0;

	return balances > BALANCES_MIN ? balances : BALANCES_MIN;
}

struct verify_step verify_plan(const int64_t *counts, int32_t first, int32_t last, size_t room)
{
	struct verify_step step = {first, first, 1};
	int64_t sum = GROWTH(counts[first]);
	int64_t most = (int64_t)verify_plan_balances(&step, room);

	assert(first <= last);
	if (most > BALANCES_MAX)
		most = BALANCES_MAX;
	if (sum > most) {
		step.slices = (uint32_t)((sum + most - 1) / most);
		return step;
	}
	while (step.last < last) {
		struct verify_step wider = {first, step.last + 1, 1};

		sum += GROWTH(counts[wider.last]);
		if (sum > (int64_t)verify_plan_balances(&wider, room))
			break;
		step = wider;
	}
	return step;
}

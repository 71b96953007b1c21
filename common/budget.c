#include "budget.h"

#include <assert.h>

void budget_init(struct budget *budget, size_t max_bytes)
{
	budget->max_bytes = max_bytes;
	atomic_init(&budget->used_bytes, 0);
}

bool budget_take(struct budget *budget, size_t bytes)
{
	size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);

	if (bytes == 0) /* also when more than there is was taken by force */
		return true;
	do {
		if (used > budget->max_bytes || bytes > budget->max_bytes - used)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&budget->used_bytes, &used, used + bytes,
		memory_order_relaxed, memory_order_relaxed));
	return true;
}

void budget_force(struct budget *budget, size_t bytes)
{
	atomic_fetch_add_explicit(&budget->used_bytes, bytes, memory_order_relaxed);
}

void budget_give(struct budget *budget, size_t bytes)
{
	size_t before = atomic_fetch_sub_explicit(&budget->used_bytes, bytes, memory_order_relaxed);

	assert(before >= bytes);
}

size_t budget_used(const struct budget *budget)
{
	return atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
}

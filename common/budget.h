/*
 * The memory that everything that grows shares (consumer.memory_max): a number that its users
 * take from and give back to.  Thread-safe; it counts, it does not allocate.
 */
#ifndef COMMON_BUDGET_H
#define COMMON_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
	size_t max_bytes;
	atomic_size_t used_bytes;
};

void budget_init(struct budget *budget, size_t max_bytes);

/* Takes `bytes` if they are left, else takes nothing and returns false.  None are always left. */
bool budget_take(struct budget *budget, size_t bytes);

/* Takes `bytes` even beyond the limit: for what was promised when the limit was checked. */
void budget_force(struct budget *budget, size_t bytes);

void budget_give(struct budget *budget, size_t bytes);
size_t budget_used(const struct budget *budget);

#endif

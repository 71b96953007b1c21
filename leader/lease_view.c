/*
 * The view that a store's `read` fills.  Its arrays are malloc'd and belong to it, each member's
 * list of partitions too; a store replaces them with lease_view_finish and new ones.
 */
#include "lease_store.h"

#include <stdlib.h>

void lease_view_init(struct lease_view *view)
{
	*view = (struct lease_view){0};
}

void lease_view_finish(struct lease_view *view)
{
	for (size_t m = 0; m < view->member_count; m++)
		free(view->members[m].partitions);
	free(view->members);
	free(view->rows);
	*view = (struct lease_view){0};
}

/* admin.h -- pages for the administrator: is it ready, and its numbers. */
#ifndef REKINDLE_ADMIN_H
#define REKINDLE_ADMIN_H

#include "tracker/loop.h"

/* /readyz and /metrics; false when it is neither.  From any loop's thread. */
bool admin_page(struct server *, struct span path, struct hit *);

#endif

/* form.h -- the fields of a posted form, application/x-www-form-urlencoded or multipart/form-data.  Pure. */
#ifndef REKINDLE_FORM_H
#define REKINDLE_FORM_H

#include "common/buf.h"

/*
 * `type` is the value of Content-Type.  Whatever does not say that it is
 * multipart/form-data (RFC 7578) is read as urlencoded (the URL standard):
 * mailbox providers that post a one-click unsubscribe forget the type.  A
 * body that ends too early has the fields that are there.
 */

/* Is there a field of this name and value?  Both in any letter case, and the value with white space around it. */
bool form_says(struct span type, struct span body, struct span name, struct span value);

/* Appends the decoded value of the first field of this name.  False, and nothing appended, when there is none. */
bool form_value(struct span type, struct span body, struct span name, struct buf *out);

#endif

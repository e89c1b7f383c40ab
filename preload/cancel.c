// preload/cancel.c - a thread's type of cancellation, which the pool has to know of: ../pool/aside.c. Nothing that the
// library does is a cancellation point. So a thread of the deferred type cannot be cancelled in it.
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

#include "../pool/pool.h"
#include "export.h"

// The C library's own. The state (pthread_setcancelstate) would do as well, but for glibc before 2.38: cancelled by a change
// of the state, a thread does not end with PTHREAD_CANCELED.
static RARE int type_set(int type, int *old)
{
    static int (*_Atomic next)(int, int *);
    if (next == NULL) {
        int (*found)(int, int *);
        *(void **)&found = dlsym(RTLD_NEXT, "pthread_setcanceltype");
        next = found;
    }
    return next(type, old);
}

void pool_hook_cancellable(bool anywhere)
{
    type_set(anywhere ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, NULL);
}

EXPORT RARE int pthread_setcanceltype(int type, int *old)
{
    if (type == PTHREAD_CANCEL_ASYNCHRONOUS)
        pool_thread_cancellable(true); // before it is
    int error = type_set(type, old);
    if (type == PTHREAD_CANCEL_DEFERRED)
        pool_thread_cancellable(false);
    return error;
}

// tests/hostile/waiting_plugin.c - see cancelled.c. Its constructor, which runs under the loader's lock, waits for a thread.
#include <pthread.h>

static void *change_cancellation(void *unused)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_setcancelstate(before, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    return unused;
}

__attribute__((constructor)) static void wait_for_a_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, change_cancellation, NULL) == 0)
        pthread_join(thread, NULL);
}

/*
 * C11's threads as pthreads, for programs under ThreadSanitizer.
 *
 * gcc 12's and clang 14's ThreadSanitizer know pthreads only: in a thread that thrd_create made
 * they crash, and what mtx_lock guards is reported as a race.  Debian's librdkafka is built with
 * C11's threads.  Linked into the program, these functions come before the C library's, and every
 * thread and lock of librdkafka is seen.
 *
 * glibc's C11 types are its pthread types under other names, which the assertions below hold on to.
 * Only what librdkafka uses is here.  Not for anything but sanitized programs.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "a mutex is a mutex");
static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "a condition is a condition");
static_assert(sizeof(thrd_t) == sizeof(pthread_t), "a thread is a thread");
static_assert(sizeof(once_flag) == sizeof(pthread_once_t), "once is once");

/*
 * The sanitizer asks for this at start.  librdkafka counts references and publishes pointers with
 * atomic instructions, which are not seen in a library that was built without the sanitizer: what
 * one of its calls frees or locks then seems to race with another's.  So reports with a frame of
 * librdkafka in them are not told; what our threads do with each other is.
 */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
	return "race:librdkafka.so\n";
}

struct start {
	thrd_start_t function;
	void *argument;
};

static void *run(void *argument)
{
	struct start start = *(struct start *)argument;

	free(argument);
	return (void *)(intptr_t)start.function(start.argument);
}

static int result(int rc)
{
	return rc == 0           ? thrd_success
	       : rc == EBUSY     ? thrd_busy
	       : rc == ENOMEM    ? thrd_nomem
	       : rc == ETIMEDOUT ? thrd_timedout
				 : thrd_error;
}

int thrd_create(thrd_t *thread, thrd_start_t function, void *argument)
{
	struct start *start = malloc(sizeof *start);
	int rc;

	if (!start)
		return thrd_nomem;
	*start = (struct start){function, argument};
	rc = pthread_create(thread, NULL, run, start);
	if (rc != 0)
		free(start);
	return result(rc);
}

int thrd_join(thrd_t thread, int *ret_result)
{
	void *returned = NULL;
	int rc = pthread_join(thread, &returned);

	if (ret_result)
		*ret_result = (int)(intptr_t)returned;
	return result(rc);
}

thrd_t thrd_current(void)
{
	return pthread_self();
}

void call_once(once_flag *flag, void (*function)(void))
{
	pthread_once((pthread_once_t *)flag, function);
}

int mtx_init(mtx_t *mutex, int type)
{
	pthread_mutexattr_t attributes;
	int rc;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(
		&attributes, type & mtx_recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
	rc = pthread_mutex_init((pthread_mutex_t *)mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return result(rc);
}

int mtx_lock(mtx_t *mutex)
{
	return result(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex)
{
	return result(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

void mtx_destroy(mtx_t *mutex)
{
	pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int cnd_init(cnd_t *condition)
{
	return result(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

int cnd_signal(cnd_t *condition)
{
	return result(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition)
{
	return result(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
	return result(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
	return result(pthread_cond_timedwait(
		(pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until));
}

void cnd_destroy(cnd_t *condition)
{
	pthread_cond_destroy((pthread_cond_t *)condition);
}

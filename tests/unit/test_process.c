/* What the kernel says of this process, against what the test does to it. */
#include "process.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct process_stats read_stats(void)
{
	struct process_stats stats;

	assert_true(process_read(&stats));
	return stats;
}

static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1000; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_counts_file_descriptors(void **state)
{
	struct process_stats before = read_stats();
	int fds[2];

	assert_int_equal(before.open_fds, count_fds());
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(read_stats().open_fds, before.open_fds + 2);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(read_stats().open_fds, before.open_fds);
}

static void test_tells_the_limit_of_file_descriptors(void **state)
{
	struct rlimit old, limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	limit.rlim_cur = 200;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(read_stats().max_fds, 200);
	setrlimit(RLIMIT_NOFILE, &old);
}

static void test_memory_that_is_used_is_resident(void **state)
{
	const size_t bytes = 32 << 20;
	struct process_stats before = read_stats(), after;
	char *memory = mmap(
		NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	memset(memory, 1, bytes);
	after = read_stats();
	munmap(memory, bytes);
	assert_true(after.resident_bytes - before.resident_bytes > (int64_t)bytes / 2);
	assert_true(after.virtual_bytes - before.virtual_bytes >= (int64_t)bytes);
}

static void test_cpu_time_is_ours(void **state)
{
	int64_t before_us = read_stats().cpu_us;
	clock_t end = clock() + CLOCKS_PER_SEC / 20; /* CPU time, not the wall's */

	while (clock() < end)
		;
	assert_in_range(read_stats().cpu_us - before_us, 40000, 10000000);
}

static void *wait_for_unlock(void *lock)
{
	pthread_mutex_lock(lock);
	pthread_mutex_unlock(lock);
	return NULL;
}

static void test_counts_threads(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;
	int64_t before;

	/* The first thread brings a sanitizer's own with it. */
	assert_int_equal(pthread_create(&thread, NULL, wait_for_unlock, &lock), 0);
	pthread_join(thread, NULL);
	before = read_stats().threads;
	pthread_mutex_lock(&lock);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_unlock, &lock), 0);
	assert_int_equal(read_stats().threads, before + 1);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
}

/* A child that was just born began now; its name does not confuse the reader. */
static void test_tells_when_it_started(void **state)
{
	int64_t now_ms = (int64_t)time(NULL) * 1000;
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct process_stats stats;

		prctl(PR_SET_NAME, ") 1 2 (x");
		_exit(process_read(&stats) && stats.threads >= 1 &&
					stats.started_ms > now_ms - 60000 &&
					stats.started_ms < now_ms + 60000
				? 0
				: 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_file_descriptors),
		cmocka_unit_test(test_tells_the_limit_of_file_descriptors),
		cmocka_unit_test(test_memory_that_is_used_is_resident),
		cmocka_unit_test(test_cpu_time_is_ours),
		cmocka_unit_test(test_counts_threads),
		cmocka_unit_test(test_tells_when_it_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

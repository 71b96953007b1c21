"""Bugs that are planted into a copy of the core, to show that the simulator finds them.

Each has a name, one sentence, and the places that it changes: file, old text, new text.  The text
is an expression, or whole statements if it ends with a semicolon; it must be in the file exactly
once, else the build ends (plant.py).  None of it is in `ledgerd`, and each is chosen at run time:

    simulator-planted --list
    simulator-planted --plant forget-pin --seeds 1000

catch.py proves that some seed finds each of them.  What is not here by itself, because something
else holds (20,000 seeds have found nothing):

- Renewing a lease by name instead of by epoch: who does not believe in a lease any more does not
  renew it.  So renew-by-name forgets that as well, which by itself does no harm either: by epoch,
  the renewal fails.
- Trying again what was fenced: an owner looks at its lease before it looks at the verdict.  So
  fenced-goes-on does not look.
- Going on with a flush that was to be abandoned: the fence holds.
- Not seeing that Redis has become another server, for a publisher that was connected: the marker says
  so, unless a slice was lost that came after it (3,000 seeds have found nothing).
- Counting epochs from the old one + 1 where the clock was set back: one seed of an earlier simulator found
  it, some 15,000 of this one have not.  A unit test holds it
  (test_a_lost_epoch_is_not_handed_out_again_though_the_clock_is_behind).
- Acquiring a partition that somebody has asked for: whoever plans leaves it alone.  So there is
  request-unseen.
"""

LEDGER = "consumer/ledger.c"
FLUSH = "consumer/flush.c"
GROUP = "consumer/flush_group.c"
PARTITION = "consumer/partition.c"
STORE = "consumer/store_memory.c"
LEASES = "leader/lease_store_memory.c"
LEADER = "leader/leader.c"
RESOLVE = "consumer/replay_resolve.c"
RELAY = "outbox/relay.c"
OUTBOX = "outbox/outbox_store_memory.c"


def bug(what, *places):
    return {"what": what, "places": places}


BUGS = {
    # The rules and the batch
    "overdraft": bug(
        "a balance may fall below zero: the refusal is forgotten",
        ("consumer/apply.c", "available < 0 || frozen < 0", "false")),
    "overflow": bug(
        "a balance may grow beyond its most: the overflow is not looked for",
        ("consumer/apply.c", "available > DECIMAL_MAX || frozen > DECIMAL_MAX", "false")),
    "apply-refused": bug(
        "a refused event changes the balance as far as there is any",
        ("consumer/apply.c", "return effect->shortfall;",
         "balance->available = 0; return effect->shortfall;")),
    "refused-unchained": bug(
        "a refused row does not become the newest of its balance",
        (LEDGER, "balance->last_offset = record->message.offset;",
         "if (!record->refusal) balance->last_offset = record->message.offset;")),
    "conflict-is-duplicate": bug(
        "a known id is a duplicate whatever its content",
        ("consumer/dedupe.c",
         "at(dedupe, word)->fingerprint == id->fingerprint ? DEDUPE_SAME : DEDUPE_CONFLICT",
         "DEDUPE_SAME")),
    "offset-low": bug(
        "the offset behind a batch is that of its last message",
        ("consumer/batch.c", "b->end_offset = message->offset + 1;",
         "b->end_offset = message->offset;")),
    "offset-high": bug(
        "a flush moves next_offset one too far",
        (PARTITION, "flush_start(p->edges.flush, &request);",
         "request.end_offset++; flush_start(p->edges.flush, &request);")),
    "end-ignored": bug(
        "the end of the log does not move the offset past hidden records",
        (PARTITION, "batch_advance(p->prepared, item->end_offset);", "(void)item;")),

    # Undo and memory
    "undo-no-balances": bug(
        "an undone batch leaves its balances changed",
        (LEDGER, "balances_set(ledger->balances, b->touched[i].ref, &b->touched[i].before);",
         "(void)0;")),
    "conflict-without-headers": bug(
        "a message whose id is known with another content loses its headers",
        (PARTITION, "b->records[i].dead_reason == DEAD_ID_CONFLICT", "false")),
    "release-early": bug(
        "what may still become a dead letter is given back to the log",
        (PARTITION, "p->flying = p->prepared;",
         "p->flying = p->prepared; "
         "p->edges.topic->ops->release(p->edges.topic, p->flying->end_offset);")),
    "undo-no-ids": bug(
        "an undone batch leaves its ids remembered",
        (LEDGER, "dedupe_forget_newest(ledger->dedupe, b->remembered_count);", "(void)0;")),
    "forget-pin": bug(
        "a balance that a batch has found in memory is not pinned",
        (LEDGER, "balances_pin(ledger->balances, record->balance, b->pin);", "(void)0;")),
    "evict-uncommitted": bug(
        "balances are let go as soon as they are changed, not when the change has committed",
        (LEDGER, "b->closed_ms = now_ms;",
         """b->closed_ms = now_ms;
            for (size_t i = 0; i < b->touched_count; i++)
                balances_unpin(ledger->balances, b->touched[i].ref, b->pin);""")),
    "evict-any": bug(
        "eviction does not look at the pins of every second batch",
        ("consumer/balances.c", "entry->flags & FLAG_PINS", "entry->flags & BALANCE_PIN_ODD")),
    "still-complete": bug(
        "after an eviction the partition believes that it has all balances in memory",
        ("consumer/balances.c", "balances->complete = false;", "(void)0;")),

    # The flush
    "no-epoch-check": bug(
        "the fence looks at the offset alone, not at the epoch",
        (STORE, "row->epoch == request->epoch &&\n\t\t\trow->next_offset == request->begin_offset",
         "row->next_offset == request->begin_offset")),
    "no-offset-check": bug(
        "the fence looks at the epoch alone, not at the offset",
        (STORE, "row->epoch == request->epoch &&\n\t\t\trow->next_offset == request->begin_offset",
         "row->epoch == request->epoch")),
    "publish-before-commit": bug(
        "balances go to Redis when their flush begins",
        (PARTITION, "p->edges.submit(p->edges.context);",
         "publish(p, p->flying); p->edges.submit(p->edges.context);")),
    "trust-affected-rows": bug(
        "the journal's rows are not counted: one that replaced another is taken for new",
        (FLUSH, """if (counts.deleted != 0 || counts.affected != (int64_t)sent)
		return roll_back(f, FLUSH_DUPLICATES);
	return next(f, FLUSH_BALANCES);""", "return next(f, FLUSH_BALANCES);")),
    "balances-not-written": bug(
        "the rows of account_balances are left out",
        (FLUSH, "if (sent == 0)\n\t\treturn next(f, FLUSH_DEAD_LETTERS);",
         "return next(f, FLUSH_DEAD_LETTERS);")),
    "dead-letters-not-written": bug(
        "the dead letters are left out",
        (FLUSH, "if (sent == 0)\n\t\treturn next(f, FLUSH_COMMIT);",
         "return next(f, FLUSH_COMMIT);")),
    "unknown-is-committed": bug(
        "a COMMIT without an answer is taken for done",
        (FLUSH, "f->store->ops->commit(f->store, &f->error) == STORE_OK",
         "f->store->ops->commit(f->store, &f->error) >= 0")),
    "unknown-is-done": bug(
        "a COMMIT without an answer is taken for done, unless somebody else's",
        (FLUSH, """if (row.next_offset == f->request.begin_offset)
		return next(f, FLUSH_BEGIN);
	return end(f, FLUSH_FENCED);""", "return end(f, FLUSH_COMMITTED);")),
    "joint-fence-unseen": bug(
        "whether each of several flushes in one transaction moved its offset is not looked at",
        (GROUP, "!moved", "false")),
    "joint-rows-uncounted": bug(
        "of several flushes in one transaction, a row that replaced another is taken for new",
        (GROUP, "counts->deleted == (int64_t)replaced", "counts->deleted >= (int64_t)replaced")),
    "joint-balances-not-written": bug(
        "of several flushes in one transaction, the rows of account_balances are left out",
        (GROUP, "load(g, STORE_BALANCES, FLUSH_DEAD_LETTERS);",
         "g->step = FLUSH_DEAD_LETTERS;")),
    "joint-unknown-is-committed": bug(
        "a COMMIT of several flushes without an answer is taken for done",
        (GROUP, "end(g, FLUSH_SETTLE_CONNECT, FLUSH_PENDING);",
         "end(g, FLUSH_ENDED, FLUSH_COMMITTED);")),
    "halt-unconfirmed": bug(
        "a row that should not be there halts the partition, though the database has gone back since",
        ("consumer/fetch.c", "fetch_confirm(p, &wait_ms) ? halt_for_rows(p) : wait_ms",
         "halt_for_rows(p)")),
    "fenced-goes-on": bug(
        "an owner does not look at its lease, and tries again what was fenced",
        (PARTITION,
         "lost == 0 && !p->edges.lease_valid(p->edges.context, p->config.partition, now_ms)",
         "false"),
        (PARTITION, """fenced(p, "the epoch or the offset in partition_offsets is another's");
		return false;""", "settle_duplicates(p); return true;")),

    # Leases
    "old-epoch-again": bug(
        "a lease that is taken over keeps its epoch",
        (LEASES, "row->epoch += epoch_step(db);", "(void)0;"),
        (LEASES, "row->epoch < now_us", "row->epoch == 0")),
    "epoch-not-of-the-clock": bug(
        "a new epoch is counted from the row alone, which may be an old one",
        (LEASES, "row->epoch += epoch_step(db);", "row->epoch += 1;"),
        (LEASES, "row->epoch < now_us", "false")),
    "idle-unseen": bug(
        "a renewal does not look at the offset: an idle owner does not see that the database went back",
        (LEADER, "!renewal->ret_held || renewal->ret_next_offset < low || "
         "renewal->ret_next_offset > high", "!renewal->ret_held")),
    "release-any": bug(
        "a release ends the lease whoever has it by now",
        (LEASES, "s->db->rows[partition].epoch == epoch", "true")),
    "believe-too-long": bug(
        "an owner believes in its lease for longer than the server does",
        (LEADER, "sent_ms + leader->config.ttl_ms * 2 / 3",
         "sent_ms + leader->config.ttl_ms * 3 / 2")),
    "renew-by-name": bug(
        "a lease is renewed by its owner's name, and the owner does not look at the time",
        (LEASES, "row->epoch == renewals[i].epoch", "strcmp(row->consumer_id, consumer_id) == 0"),
        (LEADER, "lease_kept(lease) && now_ms >= atomic_load(&lease->valid_until_ms)", "false")),
    "request-unseen": bug(
        "who plans the partitions does not see that one has been asked for",
        (LEASES, "row->requested_until_us > now_us", "false")),

    # Redis
    "redis-offset-early": bug(
        "redis_offset covers what still waits to be written",
        ("consumer/publisher.c", "publication_keeps(p) && waiting_of(p) == 0",
         "publication_keeps(p)")),
    "redis-last-write": bug(
        "the last write wins, whatever the versions",
        ("consumer/image_map.c", "old->version > image->version", "false")),
    "redis-marker-unread": bug(
        "a marker that is gone, or behind, is as good as any",
        ("consumer/publisher_step.c", "return p->marker_offset >= p->published;", "return true;")),
    "redis-ahead-is-drift": bug(
        "what Redis was told of lost commits passes for drift before the log has brought it again",
        ("consumer/sample.c", "atomic_load(&p->committed_offset) < p->log_end", "false")),
    "redis-not-caught-up": bug(
        "a new owner does not publish what its predecessor could not",
        ("consumer/recover.c", "unpublished.count", "0")),

    # The outbox
    "outbox-mark-early": bug(
        "rows are marked SENT before their transaction is committed in Kafka",
        (RELAY, """if (result == SINK_OK)
		return next(r, RELAY_COMMIT);""",
         """if (result == SINK_OK) {
             bool held;
             outbox_batch_turn(&r->batch, OUTBOX_SENDING, OUTBOX_SENT);
             r->store->ops->mark(r->store, r->epoch, r->config.ttl_ms, &r->batch, &held, NULL);
             outbox_batch_turn(&r->batch, OUTBOX_SENT, OUTBOX_SENDING);
             return next(r, RELAY_COMMIT);
         }""")),
    "outbox-unknown-is-committed": bug(
        "a commit without an answer is taken for done",
        (RELAY, """if (result != SINK_OK)
		return sink_failed(r, result);
	outbox_batch_turn(&r->batch, OUTBOX_SENDING, OUTBOX_SENT);""",
         """if (result != SINK_OK && result != SINK_BROKEN) return sink_failed(r, result);
            outbox_batch_turn(&r->batch, OUTBOX_SENDING, OUTBOX_SENT);""")),
    "outbox-not-acknowledged": bug(
        "a transaction is committed without waiting for what Kafka says of its rows",
        (RELAY, "outbox_batch_count(&r->batch, OUTBOX_SENDING) ? RELAY_FLUSH : RELAY_MARK",
         "outbox_batch_count(&r->batch, OUTBOX_SENDING) ? RELAY_COMMIT : RELAY_MARK")),
    "outbox-refused-is-sent": bug(
        "a row that Kafka refuses is marked SENT",
        (RELAY, "outbox_batch_fail(&r->batch, r->next, r->error.text);",
         "row->fate = OUTBOX_SENDING;")),
    "outbox-innocent-fails": bug(
        "a row is FAILED because of another that was sent with it",
        (RELAY, "r->batch.count == 1", "true")),
    "outbox-missing-topic-fails": bug(
        "a row whose topic is missing is marked FAILED",
        (RELAY, """if (result == SINK_TOPIC)
		return put_aside(r, r->next);""",
         "if (result == SINK_TOPIC) result = SINK_REFUSED;")),
    "outbox-unproven": bug(
        "a relay that has opened Kafka does not look whether the lease is still its own",
        (RELAY, """if (!held)
		return lose_to_another(r);
	extend(r, now_ms);
	return next(r, r->open ? RELAY_READ : RELAY_OPEN);""",
         "extend(r, now_ms); return next(r, r->open ? RELAY_READ : RELAY_OPEN);")),
    "outbox-not-fenced": bug(
        "each relay has a transactional.id of its own: nobody is shut out of Kafka",
        ("outbox/outbox_sink_memory.c", "s->producer != s->log->opened", "false")),
    "outbox-no-epoch-check": bug(
        "rows are marked whatever the lease's epoch",
        (OUTBOX, "s->db->epoch == epoch", "true")),
    "outbox-old-epoch-again": bug(
        "a new epoch of the relay is counted from the row alone, which may be an old one",
        (OUTBOX, "s->db->epoch = new_epoch(s->db);", "s->db->epoch += 1;")),
    "outbox-mark-by-id": bug(
        "a row is marked by its id alone, which may be another's after a fail-over",
        (OUTBOX, "strcmp(db->rows[at].event_id, from->event_id) == 0", "true")),
    "outbox-last-id": bug(
        "a row is not read once a later one was sent",
        (OUTBOX, "row->fate != OUTBOX_PENDING || is_aside(row, aside, aside_count)",
         "row->fate != OUTBOX_PENDING || is_aside(row, aside, aside_count) || "
         "(i + 1 < s->db->count && s->db->rows[i + 1].fate == OUTBOX_SENT)")),

    # People
    "resume-no-gap": bug(
        "the offsets that a person gives up are not recorded",
        ("consumer/memory_database.c",
         "table->gaps[table->gap_count++] = (struct memory_gap){from_offset, to_offset};",
         "(void)from_offset;")),
    "resume-beyond": bug(
        "resume may give up offsets that the log does not have yet",
        ("consumer/resume_plan.c", "at_offset > log->high", "false")),
    "replay-known-id": bug(
        "a replay does not see that the transaction has a row",
        ("consumer/replay_table.c", "table->candidates[leader].known_offset = row->offset;",
         "(void)0;")),
    "replay-broken-is-whole": bug(
        "a replay decides the events of accounts whose rows are missing",
        (RESOLVE, "account->broken", "false")),
    "replay-wrong-chain": bug(
        "a restored row points at no other",
        (RESOLVE, "c->prev_offset = balance->last_offset;",
         "c->prev_offset = verdict == REPLAY_RESTORE_ROW ? -1 : balance->last_offset;")),
    "replay-not-published": bug(
        "a replay leaves redis_offset where it is, above what it has written",
        ("consumer/replay_write.c", "c->offset < r->redis_offset", "false")),
}

# Where the hunt for a rare one begins, so that it does not take minutes. Any seed would do; if worlds
# change, so that these find nothing soon, later ones do.
FIRST_SEED = {"fenced-goes-on": 2885, "halt-unconfirmed": 2675, "outbox-mark-by-id": 525}

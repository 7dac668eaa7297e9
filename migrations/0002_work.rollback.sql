drop table session, credential, delivery_claim, source_memory, evidence, evaluation_request, schedule, lease, parked, checkpoint;

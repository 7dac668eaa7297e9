drop table waiting_look, model_batch_call, model_batch, waiting_inquiry;

drop table model_answer;

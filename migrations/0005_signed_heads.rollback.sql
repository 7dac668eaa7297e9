drop table signed_head;
drop function refuse_change_of_signed_head();

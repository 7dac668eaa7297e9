-- What was recorded is never changed: not by the application's role, and not by mistake of anybody else.
-- depends: 0005_signed_heads

select 1;

drop table read_model.signals, read_model.signal_sources;
drop table signal_watch, signal_secret, signal_source;

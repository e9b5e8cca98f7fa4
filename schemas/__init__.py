"""The contract: every record, state, topic, header, setting and error of Laneway, and nothing that does I/O."""

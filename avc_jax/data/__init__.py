"""From files to device arrays: plan, sources, decode, pipeline, feed, quarantine."""

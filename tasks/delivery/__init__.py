"""From the lake into sinks: replay, and whether lake and sink agree."""

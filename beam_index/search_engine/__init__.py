"""An index as documents, mapping and query of Elasticsearch and OpenSearch; see `to_elasticsearch`."""

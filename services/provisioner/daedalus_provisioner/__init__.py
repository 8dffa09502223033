"""daedalus_provisioner prepares an object store once: the bucket, its lifecycle, and a key for each service."""

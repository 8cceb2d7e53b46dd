"""``spraycc doctor``: checks of this host, of the cluster, and of the hosts of executors."""

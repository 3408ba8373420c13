package neither

package unix

const EINVAL = 22

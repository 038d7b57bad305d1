/* Made by the kernel build; nothing of it is used. */

// preload/deepbind.h - plugins that are opened with RTLD_DEEPBIND.
//
//   strdup in the C library  ->  malloc, ours      the block        the plugin's free  ->  the C library's
//
// Such a plugin looks a name up in itself and in what it needs first, and there the C library's malloc and free come before ours. So it
// frees by one what the other has allocated, and the program dies (PHP's modules do so). Therefore dlopen is ours, too: once the C
// library's has opened the plugin, what the plugin and the libraries that were loaded after it hold as the address of the C library's malloc,
// free and so on becomes that of ours. All their other names stay bound as they asked for.
//
// A path without a slash, or with $ORIGIN and the like, is searched for by who the caller is; so are others left alone: the C library
// then sees the caller itself, and such a plugin keeps the C library's malloc. What that one allocates and the program frees is
// known (foreign.h); the other way round it is not.
#ifndef TARN_DEEPBIND_H
#define TARN_DEEPBIND_H

void *dlopen(const char *path, int mode);

#endif

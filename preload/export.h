// preload/export.h - marks what libtarn.so shows to others; libtarn.map repeats the names, and both are needed.
#ifndef TARN_EXPORT_H
#define TARN_EXPORT_H

#define EXPORT __attribute__((visibility("default")))

#endif

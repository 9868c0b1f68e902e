/* A driver that runs nothing: it writes down what it is told, one line a call. ENTRIES, in entries.h, holds the kernels
   of the module: names, and bytes of each parameter, 0 after the last. */
#include "cuda.h"
#include "entries.h"

#include <stdio.h>
#include <string.h>

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  *module = NULL;
  printf("load %zu bytes\n", strlen(image));
  return CUDA_SUCCESS;
}

static struct entry *entry_of(CUfunction function) { return (struct entry *)(void *)function; }

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  size_t at;
  (void)module;
  for (at = 0; at < sizeof ENTRIES / sizeof *ENTRIES; ++at) {
    if (strcmp(ENTRIES[at].name, name) == 0) {
      *function = (CUfunction)(void *)&ENTRIES[at];
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
  entry_of(function)->allowed = value;
  return CUDA_SUCCESS;
}

CUresult cuMemsetD32Async(CUdeviceptr address, unsigned int word, size_t count, CUstream stream) {
  (void)stream;
  printf("fill %llx %zu words of %u\n", address, count, word);
  return CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                                const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box,
                                const cuuint32_t *steps, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
  char *text = (char *)map->opaque;
  size_t used = 0;
  cuuint32_t axis;
  (void)interleave;
  (void)promotion;
  (void)fill;
  used += (size_t)sprintf(text, "%d@%llx/%d", (int)type, (unsigned long long)(uintptr_t)address, (int)swizzle);
  for (axis = 0; axis < rank; ++axis) {
    if (steps[axis] != 1) return CUDA_ERROR_INVALID_VALUE;
    used += (size_t)sprintf(text + used, " %llu:%u", (unsigned long long)dims[axis], (unsigned)box[axis]);
    if (axis + 1 < rank) used += (size_t)sprintf(text + used, ":%llu", (unsigned long long)strides[axis]);
  }
  return used < sizeof *map ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                        unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
                        CUstream stream, void **parameters, void **extra) {
  const struct entry *entry = entry_of(function);
  size_t at;
  (void)stream;
  if (block_y != 1 || block_z != 1 || extra != NULL) return CUDA_ERROR_INVALID_VALUE;
  /* More than 48 KiB have to be asked for before. */
  if (shared > 49152 && entry->allowed < (int)shared) return CUDA_ERROR_INVALID_VALUE;
  printf("launch %s [%u, %u, %u] %u %u:", entry->name, grid_x, grid_y, grid_z, block_x, shared);
  for (at = 0; entry->bytes[at] != 0; ++at) {
    uint32_t word;
    uint64_t address;
    switch (entry->bytes[at]) {
      case 4: memcpy(&word, parameters[at], 4); printf(" w%08x", (unsigned)word); break;
      case 8: memcpy(&address, parameters[at], 8); printf(" p%llx", (unsigned long long)address); break;
      default: printf(" (%s)", (const char *)parameters[at]); break;
    }
  }
  printf("\n");
  return CUDA_SUCCESS;
}

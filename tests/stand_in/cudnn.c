/* cuDNN: every graph has one engine, which takes no workspace and does nothing; nor do reductions. */
#include <stdint.h>
#include <stdlib.h>

enum type { INT64 = 3, CHARACTER = 24, INT32 = 23 };
enum attribute { KNOB_CHOICES = 302, KNOB_INFO = 1302, NUMERICAL_NOTE, LAYOUT_INFO, BEHAVIOR_NOTE };

static int create(void **made) { return *made = malloc(1), 0; }
static int destroy(void *made) { return free(made), 0; }

int cudnnCreate(void **handle) { return create(handle); }
int cudnnDestroy(void *handle) { return destroy(handle); }
int cudnnSetStream(void *handle, void *stream) { return 0; }
int cudnnGetStream(void *handle, void **stream) { return *stream = 0, 0; }
size_t cudnnGetVersion(void) { return 91400; }
size_t cudnnGetCudartVersion(void) { return 13000; }
const char *cudnnGetErrorString(int status) { return "an error of the stand-in"; }
void cudnnGetLastErrorString(char *message, size_t size) { if (size) *message = 0; }

int cudnnBackendCreateDescriptor(int type, void **made) { return create(made); }
int cudnnBackendDestroyDescriptor(void *made) { return destroy(made); }
int cudnnBackendSetAttribute(void *descriptor, int name, int type, int64_t count, const void *values) { return 0; }
int cudnnBackendFinalize(void *descriptor) { return 0; }
int cudnnBackendExecute(void *handle, void *plan, void *tensors) { return 0; }
int cudnnBackendGetAttribute(void *descriptor, int name, int type, int64_t asked, int64_t *count, void *values) {
  const int none = name == KNOB_CHOICES || (KNOB_INFO <= name && name <= BEHAVIOR_NOTE);
  if (count) *count = !none;
  if (!values || asked < 1 || none) return 0;
  if (type == INT64) *(int64_t *)values = 0;
  if (type == INT32) *(int32_t *)values = 0;
  if (type == CHARACTER) *(char *)values = 0;
  return 0;
}

int cudnnCreateFilterDescriptor(void **made) { return create(made); }
int cudnnDestroyFilterDescriptor(void *made) { return destroy(made); }
int cudnnCreateTensorDescriptor(void **made) { return create(made); }
int cudnnDestroyTensorDescriptor(void *made) { return destroy(made); }
int cudnnSetTensorNdDescriptor(void *tensor, int type, int count, const int *sides, const int *strides) { return 0; }
int cudnnCreateReduceTensorDescriptor(void **made) { return create(made); }
int cudnnDestroyReduceTensorDescriptor(void *made) { return destroy(made); }
int cudnnSetReduceTensorDescriptor(void *reduction, int op, int type, int nan, int indices, int width) { return 0; }
int cudnnGetReductionIndicesSize(void *handle, void *reduction, void *in, void *out, size_t *size) { return *size = 0, 0; }
int cudnnGetReductionWorkspaceSize(void *handle, void *reduction, void *in, void *out, size_t *size) { return *size = 0, 0; }
int cudnnReduceTensor() { return 0; }

// The CUDA runtime library, without a GPU: device memory is host memory, copies are done at once, kernels do nothing.
//
// Host functions (cudaLaunchHostFunc) run on a thread of their own, in which every other call is refused as
// cudaErrorNotPermitted: so says CUDA's manual, and so do drivers.
#include <cuda_runtime_api.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#undef cudaGetDeviceProperties

namespace {

thread_local bool in_host_function = false;

// Never destroyed, because the thread runs until the process ends.
struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::pair<cudaHostFn_t, void*>> waiting;
  bool running = false, started = false;
  std::unordered_map<void*, size_t> pinned;
};
State& state = *new State;

long delay_us() {  // before every host function
  const char* text = getenv("STAND_IN_DELAY_US");
  return text ? atol(text) : 0;
}

void run_host_functions() {
  in_host_function = true;
  std::unique_lock<std::mutex> lock(state.mutex);
  for (;;) {
    state.changed.wait(lock, [] { return !state.waiting.empty(); });
    const auto [function, data] = state.waiting.front();
    state.waiting.pop_front();
    state.running = true;
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us()));
    function(data);
    lock.lock();
    state.running = false;
    state.changed.notify_all();
  }
}

cudaError_t permitted() { return in_host_function ? cudaErrorNotPermitted : cudaSuccess; }

cudaError_t wait() {
  if (in_host_function) return cudaErrorNotPermitted;
  std::unique_lock<std::mutex> lock(state.mutex);
  state.changed.wait(lock, [] { return state.waiting.empty() && !state.running; });
  return cudaSuccess;
}

cudaError_t allocate(void** address, size_t size, size_t alignment) {
  *address = nullptr;
  return posix_memalign(address, alignment, size ? size : 1) ? cudaErrorMemoryAllocation : cudaSuccess;
}

template <class Handle>
cudaError_t make(Handle* handle) {
  *handle = reinterpret_cast<Handle>(malloc(8));
  return permitted();
}

template <class Handle>
cudaError_t drop(Handle handle) {
  if (in_host_function) return cudaErrorNotPermitted;
  free(reinterpret_cast<void*>(handle));
  return cudaSuccess;
}

}  // namespace

extern "C" {

long stand_in_pinned_bytes() {
  std::lock_guard<std::mutex> lock(state.mutex);
  long sum = 0;
  for (const auto& [address, size] : state.pinned) sum += size;
  return sum;
}

// Host functions, and page-locked memory

cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t function, void* data) {
  std::lock_guard<std::mutex> lock(state.mutex);
  if (!state.started) std::thread(run_host_functions).detach();
  state.started = true;
  state.waiting.push_back({function, data});
  state.changed.notify_all();
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** address, size_t size, unsigned) {
  const cudaError_t error = allocate(address, size, 4096);
  std::lock_guard<std::mutex> lock(state.mutex);
  state.pinned[*address] = size;
  return error;
}
cudaError_t cudaMallocHost(void** address, size_t size) { return cudaHostAlloc(address, size, 0); }
cudaError_t cudaFreeHost(void* address) {
  if (const cudaError_t error = wait()) return error;
  std::lock_guard<std::mutex> lock(state.mutex);
  state.pinned.erase(address);
  free(address);
  return cudaSuccess;
}

// Device memory

cudaError_t cudaMalloc(void** address, size_t size) { return allocate(address, size, 256); }
cudaError_t cudaMallocFromPoolAsync(void** address, size_t size, cudaMemPool_t, cudaStream_t) { return cudaMalloc(address, size); }
cudaError_t cudaFree(void* address) {
  if (const cudaError_t error = wait()) return error;
  free(address);
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* address, cudaStream_t) { return cudaFree(address); }
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) { return memmove(to, from, size), permitted(); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) { return memmove(to, from, size), permitted(); }
cudaError_t cudaMemcpy2DAsync(void*, size_t, const void*, size_t, size_t, size_t, cudaMemcpyKind, cudaStream_t) { return permitted(); }
cudaError_t cudaMemcpyFromSymbol(void* to, const void*, size_t size, size_t, cudaMemcpyKind) { return memset(to, 0, size), permitted(); }
cudaError_t cudaMemset(void* to, int value, size_t size) { return memset(to, value, size), permitted(); }
cudaError_t cudaMemsetAsync(void* to, int value, size_t size, cudaStream_t) { return memset(to, value, size), permitted(); }
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) { return *available = *total = size_t(8) << 30, permitted(); }
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) { return make(pool); }
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) { return drop(pool); }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void* value) { return *static_cast<size_t*>(value) = 0, permitted(); }
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return permitted(); }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return permitted(); }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* address) {
  memset(found, 0, sizeof *found);
  found->type = cudaMemoryTypeDevice;
  found->devicePointer = const_cast<void*>(address);
  return permitted();
}

// The device

cudaError_t cudaGetDevice(int* device) { return *device = 0, permitted(); }
cudaError_t cudaSetDevice(int) { return permitted(); }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, permitted(); }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 1024, permitted(); }
cudaError_t cudaDeviceSynchronize() { return wait(); }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, permitted(); }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, permitted(); }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "an error of the stand-in"; }
const char* cudaGetErrorString(cudaError_t error) { return error == cudaErrorNotPermitted ? "operation not permitted" : "an error of the stand-in"; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* found, int) {
  memset(found, 0, sizeof *found);
  strcpy(found->name, "stand-in");
  found->totalGlobalMem = size_t(8) << 30;
  found->major = 9;
  found->multiProcessorCount = 132;
  found->warpSize = 32;
  found->regsPerBlock = 65536;
  found->maxThreadsPerBlock = found->maxThreadsDim[0] = found->maxThreadsDim[1] = 1024;
  found->maxThreadsDim[2] = 64;
  found->maxThreadsPerMultiProcessor = 2048;
  found->maxGridSize[0] = 2147483647;
  found->maxGridSize[1] = found->maxGridSize[2] = 65535;
  found->sharedMemPerBlock = 48 << 10;
  found->sharedMemPerBlockOptin = 227 << 10;
  found->sharedMemPerMultiprocessor = 228 << 10;
  found->l2CacheSize = 50 << 20;
  return permitted();
}

// Streams, events and graphs

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return make(stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return make(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return drop(stream); }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return wait(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return permitted(); }
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) { return *status = cudaStreamCaptureStatusNone, permitted(); }
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) { return permitted(); }
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) { return make(graph); }
cudaError_t cudaEventCreate(cudaEvent_t* event) { return make(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return make(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return drop(event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) { return *milliseconds = 1, permitted(); }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return permitted(); }
cudaError_t cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned) { return permitted(); }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return wait(); }
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return drop(graph); }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t, unsigned long long) { return make(made); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t made) { return drop(made); }
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return permitted(); }

// Kernels

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, const void*) {
  memset(found, 0, sizeof *found);
  found->maxThreadsPerBlock = 1024;
  found->ptxVersion = found->binaryVersion = 90;
  return permitted();
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return permitted(); }
cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t, cudaFuncAttribute, int, int) { return permitted(); }
cudaError_t cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t) { return permitted(); }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void*, void**) { return permitted(); }
cudaError_t cudaLaunchCooperativeKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t) { return permitted(); }
cudaError_t cudaLibraryLoadData(cudaLibrary_t*, const void*, cudaJitOption*, void**, unsigned, cudaLibraryOption*, void**, unsigned) { return permitted(); }
cudaError_t cudaLibraryGetKernel(cudaKernel_t*, cudaLibrary_t, const char*) { return permitted(); }
cudaError_t cudaLibraryUnload(cudaLibrary_t) { return permitted(); }
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) { return *blocks = 2, permitted(); }
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  *function = nullptr;
  if (result) *result = cudaDriverEntryPointSymbolNotFound;
  return permitted();
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) { return *kernel = (cudaKernel_t)function, cudaSuccess; }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) { return permitted(); }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { return cudaSuccess; }
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, void*) { return 0; }
void** __cudaRegisterFatBinary(void*) { static void* handle; return &handle; }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*, void*, int*) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaUnregisterFatBinary(void**) {}

}  // extern "C"

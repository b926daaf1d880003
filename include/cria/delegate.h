/* The C interface between cria's runtime and a device: everything a delegate must provide,
 * everything it may use.
 *
 * A delegate turns the blob that its compiler target wrote into results. It is one table of four
 * functions. Return codes are the numbers of cria::ErrorCode (0 = done); before returning another,
 * say why with host->set_error. No function may throw, print or exit.
 *
 * Thread-safety: calls on one handle never overlap; calls on different handles may.
 */
#ifndef CRIA_DELEGATE_H_
#define CRIA_DELEGATE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRIA_DELEGATE_ABI_VERSION 4u

/* Bytes owned by someone else. */
typedef struct cria_bytes {
  const void* data;
  size_t size_bytes;
} cria_bytes;

/* A setting for one delegate: from the compile specs of the program, then from the caller (later
 * wins). */
typedef struct cria_option {
  const char* key;   /* e.g. "act" */
  const char* value; /* e.g. "a8" */
} cria_option;

/* An argument of execute(). Contiguous; dtype is ExecuTorch's ScalarType number (0 byte, 4 int64, 6
 * float32). Outputs arrive with their largest sizes; a delegate that writes less lowers sizes[] and
 * size_bytes. */
typedef struct cria_tensor {
  void* data;
  size_t size_bytes;
  int32_t dtype;
  int32_t rank;
  int64_t sizes[8];
} cria_tensor;

/* One op that a delegate ran, for a profile. Texts need only live during the call. */
typedef struct cria_op_record {
  const char* op;    /* its kind: "linear" */
  const char* name;  /* which one: "blk.3.qkv"; may be null */
  int32_t layer;     /* -1: of no layer */
  int32_t n_tokens;  /* that the call brought */
  uint64_t start_ns; /* of a clock that only goes forward, the same for all records */
  uint64_t end_ns;
  uint64_t weight_bytes; /* that it had to read */
  uint64_t kv_bytes;     /* of the cache that it had to read or write */
  uint64_t macs;         /* multiply-adds of matrices and attention */
} cria_op_record;

/* What one or several linears are about to read, for calibration. Need only live during the call.
 */
typedef struct cria_input_record {
  const char* const* weights; /* keys of the named data of all linears that read these rows */
  size_t n_weights;
  const float* rows; /* [n_rows, n_cols], without gaps */
  int64_t n_rows;    /* tokens of the call, in order; 1 where only the last one is used */
  int64_t n_cols;
} cria_input_record;

/* What the runtime lends to a delegate. Valid from init() until destroy() returns. */
typedef struct cria_host {
  void* context;
  /* Named data of the program (weights): mapped, read-only, valid as long as the host. 0 or
   * kNotFound. */
  int (*get_named_data)(void* context, const char* key, cria_bytes* out);
  /* Runs task(argument, index, thread) for every index in [0, n_tasks), thread in [0, n_threads).
   * n_tasks < 2^32. */
  void (*parallel_for)(void* context, int64_t n_tasks,
                       void (*task)(void* argument, int64_t index, int32_t thread), void* argument);
  int32_t n_threads;
  /* One line of text that explains the code about to be returned. Copied. */
  void (*set_error)(void* context, const char* message);
  /* Called after every op, on the thread that called execute(). Null when nobody listens, which is
   * the rule: then a delegate must not even look at the clock. */
  void (*record_op)(void* context, const cria_op_record* record);
  /* Called with the rows that linears read, once however many read them, before the first one runs,
   * on the thread that called execute(). Null when nobody listens, which is the rule: then it must
   * cost nothing. */
  void (*observe_input)(void* context, const cria_input_record* record);
} cria_host;

typedef struct cria_delegate {
  uint32_t abi_version; /* CRIA_DELEGATE_ABI_VERSION */
  const char* name;     /* the id that programs name, e.g. "CriaCpuBackend" */
  /* 1 if the device is there. */
  int (*is_available)(void);
  /* Prepares one method. `blob` stays valid until destroy(); nothing of it may be trusted. */
  int (*init)(const cria_host* host, cria_bytes blob, const cria_option* options, size_t n_options,
              void** handle);
  /* Runs it. `args`: inputs, then outputs, in the order of the program's call. */
  int (*execute)(void* handle, cria_tensor* args, size_t n_args);
  void (*destroy)(void* handle);
  /* 1: the device works by itself. Where a program says what its calls wait for, the runtime may
   * call execute() on a thread that stands for the device, while others' calls run on its own. */
  int32_t has_queue;
} cria_delegate;

#ifdef __cplusplus
}
#endif

#endif /* CRIA_DELEGATE_H_ */

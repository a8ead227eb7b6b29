/* nnU-Net inference for C. Made from the Rust source by cbindgen; `NNUNET_WRITE_HEADER=1 cargo test -p nnunet-capi --test header` writes it anew. */

#ifndef NNUNET_H
#define NNUNET_H

#include <stddef.h>
#include <stdint.h>

/**
 * bf16 where the processor multiplies it much faster, 32 bits elsewhere.
 */
#define NNUNET_PRECISION_AUTO 0

/**
 * 32-bit floats throughout.
 */
#define NNUNET_PRECISION_F32 1

/**
 * Products in bf16.
 */
#define NNUNET_PRECISION_BF16 2

/**
 * What became of a call.
 */
typedef enum {
  /**
   * It did what was asked.
   */
  NNUNET_STATUS_OK = 0,
  /**
   * A null pointer, a handle that is not alive, or a number out of range.
   */
  NNUNET_STATUS_ARGUMENT = 1,
  /**
   * The model cannot be loaded.
   */
  NNUNET_STATUS_MODEL = 2,
  /**
   * The image cannot be segmented, or the result not be written.
   */
  NNUNET_STATUS_INPUT = 3,
  /**
   * It was cancelled.
   */
  NNUNET_STATUS_CANCELLED = 4,
  /**
   * An error in the library itself.
   */
  NNUNET_STATUS_INTERNAL = 5,
} nnunet_status;

/**
 * Ends predictions that it was given to.
 */
typedef struct nnunet_cancel nnunet_cancel;

/**
 * A trained model that stays loaded. Several threads may use it at a time.
 */
typedef struct nnunet_model nnunet_model;

/**
 * A segmented image.
 */
typedef struct nnunet_result nnunet_result;

/**
 * How predictions are made. `nnunet_options_init` fills in nnU-Net's defaults; change what should differ.
 */
typedef struct {
  /**
   * Size of this structure, set by `nnunet_options_init`.
   */
  size_t size;
  /**
   * Distance of neighbouring tiles as a fraction of the patch size, above 0 and at most 1; by default 0.5.
   */
  double tile_step_size;
  /**
   * Most memory for a case in GB, beside program and weights; no limit if 0, the default.
   */
  double memory_gb;
  /**
   * Threads of the model; 0, the default, for one per processor, shared by all models. Has no effect in WebAssembly.
   */
  uint32_t threads;
  /**
   * One of `NNUNET_PRECISION_…`.
   */
  uint32_t precision;
  /**
   * Average over mirrored versions of each tile, where training mirrored: 1, the default, or 0, which is up to 8 times
   * as fast.
   */
  uint32_t mirroring;
  /**
   * Weigh the centre of a tile more than its border: 1, the default, or 0.
   */
  uint32_t gaussian;
} nnunet_options;

/**
 * An image in memory.
 */
typedef struct {
  /**
   * Intensities: channels, each z, y, x, with x fastest.
   */
  const float *data;
  /**
   * Number of channels and voxels along z, y and x.
   */
  size_t shape[4];
  /**
   * Distance of neighbouring voxels along z, y and x in millimetres.
   */
  double spacing[3];
} nnunet_image;

/**
 * Called after each tile, from one thread at a time, which need not be the one that called; `user` is what was handed over
 * with it. The prediction is cancelled if it returns anything but 0.
 */
typedef int (*nnunet_progress)(void *user, size_t done, size_t total);

/**
 * Bytes of a file.
 */
typedef struct {
  /**
   * The first byte.
   */
  const uint8_t *data;
  /**
   * Number of bytes.
   */
  size_t length;
} nnunet_bytes;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What the last call of this thread that failed had to say: a sentence in UTF-8, empty if none failed.
 *
 * The text belongs to the library and stays until the next call of this thread that fails.
 */
const char *nnunet_last_error(void);

/**
 * Version of the library, such as "0.1.0". The text is never freed.
 */
const char *nnunet_version(void);

/**
 * Fills in nnU-Net's defaults.
 *
 * # Safety
 * `options` is null or can be written.
 */
nnunet_status nnunet_options_init(nnunet_options *options);

/**
 * Makes a cancellation, to be freed with `nnunet_cancel_free`.
 *
 * # Safety
 * `cancel` is null or can be written.
 */
nnunet_status nnunet_cancel_new(nnunet_cancel **cancel);

/**
 * Lets all predictions that were given the cancellation end before their next tile; from any thread.
 */
nnunet_status nnunet_cancel_request(const nnunet_cancel *cancel);

/**
 * Frees a cancellation; predictions that use it go on. Null is allowed.
 */
nnunet_status nnunet_cancel_free(nnunet_cancel *cancel);

/**
 * Loads a model folder in nnU-Net's layout, with the final checkpoints of all its folds.
 *
 * `options` may be null for nnU-Net's defaults. `model` is to be freed with `nnunet_model_free`.
 *
 * # Safety
 * `folder` is null or text in UTF-8 that ends with a zero; `options` is null or can be read; `model` is null or can be
 * written.
 */
nnunet_status nnunet_model_open(const char *folder,
                                const nnunet_options *options,
                                nnunet_model **model);

/**
 * Loads a model from the bytes of its files: `plans.json`, `dataset.json` and one checkpoint, `.safetensors` or `.pth`.
 *
 * The bytes are copied. `options` may be null for nnU-Net's defaults. `model` is to be freed with `nnunet_model_free`.
 *
 * # Safety
 * Each pointer to bytes is null or can be read for the length behind it; `options` is null or can be read; `model` is null
 * or can be written.
 */
nnunet_status nnunet_model_from_bytes(const uint8_t *plans,
                                      size_t plans_length,
                                      const uint8_t *dataset,
                                      size_t dataset_length,
                                      const uint8_t *checkpoint,
                                      size_t checkpoint_length,
                                      const nnunet_options *options,
                                      nnunet_model **model);

/**
 * Number of channels that the model's images have.
 *
 * # Safety
 * `channels` is null or can be written.
 */
nnunet_status nnunet_model_channels(const nnunet_model *model, size_t *channels);

/**
 * What the model is, as JSON: names of `dataset`, `configuration`, `channels` and `labels` with their values, the number of
 * `classes` that probabilities are given for, `patch_size` (z, y, x) and `spacing` in millimetres.
 *
 * The text belongs to the model and is freed with it.
 *
 * # Safety
 * `json` is null or can be written.
 */
nnunet_status nnunet_model_describe(const nnunet_model *model,
                                    const char **json);

/**
 * Frees a model; predictions that are on their way end as usual. Null is allowed.
 */
nnunet_status nnunet_model_free(nnunet_model *model);

/**
 * Segments an image in memory.
 *
 * `probabilities` asks for them, too (1 or 0). `progress` and `cancel` may be null. `result` is to be freed with
 * `nnunet_result_free`.
 *
 * # Safety
 * `image` is null or can be read, and so can its data for its shape; `progress` is null or may be called with `user` from
 * other threads; `result` is null or can be written.
 */
nnunet_status nnunet_predict(const nnunet_model *model,
                             const nnunet_image *image,
                             int probabilities,
                             nnunet_progress progress,
                             void *user,
                             const nnunet_cancel *cancel,
                             nnunet_result **result);

/**
 * Segments an image from files, one per channel, in order; they are read as the model's plans say.
 *
 * The other arguments are those of `nnunet_predict`.
 *
 * # Safety
 * `paths` is null or holds `count` pointers, each null or text in UTF-8 that ends with a zero; the rest as for
 * `nnunet_predict`.
 */
nnunet_status nnunet_predict_files(const nnunet_model *model,
                                   const char *const *paths,
                                   size_t count,
                                   int probabilities,
                                   nnunet_progress progress,
                                   void *user,
                                   const nnunet_cancel *cancel,
                                   nnunet_result **result);

/**
 * Segments an image from the bytes of NIfTI files, one per channel, in order; `.nii` and `.nii.gz` are told apart.
 *
 * The other arguments are those of `nnunet_predict`.
 *
 * # Safety
 * `channels` is null or can be read for `count` values, each of which is null or can be read for its length; the rest as
 * for `nnunet_predict`.
 */
nnunet_status nnunet_predict_nifti(const nnunet_model *model,
                                   const nnunet_bytes *channels,
                                   size_t count,
                                   int probabilities,
                                   nnunet_progress progress,
                                   void *user,
                                   const nnunet_cancel *cancel,
                                   nnunet_result **result);

/**
 * The labels, one per voxel of the image, x fastest, and the number of voxels along z, y and x.
 *
 * The array belongs to the result and is freed with it. `shape` may be null.
 *
 * # Safety
 * `labels` is null or can be written; `shape` is null or can be written for 3 values.
 */
nnunet_status nnunet_result_labels(const nnunet_result *result,
                                   const int16_t **labels,
                                   size_t (*shape)[3]);

/**
 * The probabilities of labels (the background first) or regions, one per voxel of the image, and the numbers of classes and
 * voxels along z, y and x.
 *
 * The array belongs to the result and is freed with it. `shape` may be null. It is an error if the prediction was not asked
 * for them.
 *
 * # Safety
 * `probabilities` is null or can be written; `shape` is null or can be written for 4 values.
 */
nnunet_status nnunet_result_probabilities(const nnunet_result *result,
                                          const float **probabilities,
                                          size_t (*shape)[4]);

/**
 * Writes the labels with the geometry of the image, in the format that the model's plans use; for images from an array,
 * distances alone are right.
 *
 * # Safety
 * `file` is null or text in UTF-8 that ends with a zero.
 */
nnunet_status nnunet_result_write(const nnunet_result *result,
                                  const char *file);

/**
 * The labels as the bytes of a NIfTI file; `compressed` (1 or 0) asks for `.nii.gz`.
 *
 * The bytes belong to the result and are freed with it.
 *
 * # Safety
 * `data` and `length` are null or can be written.
 */
nnunet_status nnunet_result_nifti(const nnunet_result *result,
                                  int compressed,
                                  const uint8_t **data,
                                  size_t *length);

/**
 * Frees a result and its arrays. Null is allowed.
 */
nnunet_status nnunet_result_free(nnunet_result *result);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NNUNET_H */

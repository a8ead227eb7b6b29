/* Segments an image that lies in memory with a trained model.
 *
 *     cc segment.c -I include -L target/release -lnnunet_capi -o segment
 *     ./segment MODEL_FOLDER image.f32 Z Y X  SPACING_Z SPACING_Y SPACING_X labels.i16
 *
 * image.f32 holds 32-bit floats, x fastest; labels.i16 gets one 16-bit label per voxel.
 */
#include <stdio.h>
#include <stdlib.h>

#include "nnunet.h"

/* A bar on the terminal; returning 1 would cancel. */
static int show(void *user, size_t done, size_t total) {
    (void)user;
    fprintf(stderr, "\rtile %zu of %zu", done, total);
    if (done == total) fputc('\n', stderr);
    return 0;
}

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, nnunet_last_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: %s MODEL_FOLDER IMAGE Z Y X SPACING_Z SPACING_Y SPACING_X LABELS\n", argv[0]);
        return 2;
    }
    nnunet_image image = {0};
    image.shape[0] = 1;
    for (int axis = 0; axis < 3; axis++) {
        image.shape[1 + axis] = strtoul(argv[3 + axis], NULL, 10);
        image.spacing[axis] = strtod(argv[6 + axis], NULL);
    }
    size_t voxels = image.shape[1] * image.shape[2] * image.shape[3];
    float *data = malloc(voxels * sizeof *data);
    FILE *file = fopen(argv[2], "rb");
    if (!data || !file || fread(data, sizeof *data, voxels, file) != voxels) {
        fprintf(stderr, "%s: cannot read %zu values\n", argv[2], voxels);
        return 1;
    }
    fclose(file);
    image.data = data;

    nnunet_options options;
    nnunet_options_init(&options);
    options.threads = 2;
    options.precision = NNUNET_PRECISION_F32;

    nnunet_model *model;
    if (nnunet_model_open(argv[1], &options, &model) != NNUNET_STATUS_OK) return failed("cannot open the model");
    const char *about;
    if (nnunet_model_describe(model, &about) == NNUNET_STATUS_OK) printf("nnunet %s, %s\n", nnunet_version(), about);

    nnunet_result *result;
    if (nnunet_predict(model, &image, 0, show, NULL, NULL, &result) != NNUNET_STATUS_OK)
        return failed("cannot segment the image");
    const int16_t *labels;
    size_t shape[3];
    if (nnunet_result_labels(result, &labels, &shape) != NNUNET_STATUS_OK) return failed("no labels");

    file = fopen(argv[9], "wb");
    if (!file || fwrite(labels, sizeof *labels, voxels, file) != voxels || fclose(file) != 0) {
        fprintf(stderr, "%s: cannot write it\n", argv[9]);
        return 1;
    }
    nnunet_result_free(result);
    nnunet_model_free(model);
    free(data);
    return 0;
}

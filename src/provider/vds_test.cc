#include "provider/vds_objects.h"

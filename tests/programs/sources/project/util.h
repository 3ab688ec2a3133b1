int util(int number);
int extra(int number);
int third(int number);
